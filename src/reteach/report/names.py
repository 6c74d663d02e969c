"""How methods are called on a page."""

from __future__ import annotations

_METHODS = {
    "softmax": "Softmax",
    "sigmoid": "Sigmoid",
    "asl": "ASL",
    "elr": "ELR",
    "mile": "MILe",
    "nct": "NCT",
    "dml": "Deep mutual learning",
    "variability": "Target variability alone",
    "ensemble": "Two independent networks",
    "cpsd": "CPSD",
    "distill": "Distillation",
    "noisy-student": "Noisy student",
    "an-ls": "AN-LS",
    "wan": "WAN",
    "epr": "EPR",
    "role": "ROLE",
    "em-apl": "EM + APL",
    "large-loss": "Large loss",
}


def method_name(name: str) -> str:
    """The name in the papers' spelling, or the name itself."""
    return _METHODS.get(name, name)
