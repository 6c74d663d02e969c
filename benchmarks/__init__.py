"""Ratios within one run, beside the peers: ``python -m benchmarks``."""
