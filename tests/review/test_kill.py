"""Killed without warning while they decide, two reviewers lose nothing that was acknowledged."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "review.py"


def benchmark() -> ModuleType:
    """The same code as the benchmark, which kills more often."""
    spec = importlib.util.spec_from_file_location("review_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_no_acknowledged_decision_is_lost_or_doubled(tmp_path: Path, where: str) -> None:
    acknowledged, lost, doubled = benchmark().kill_and_count(tmp_path, where, kills=2)
    assert acknowledged >= 4
    assert (lost, doubled) == (0, 0)
