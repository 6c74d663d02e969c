"""Killed without warning, the server keeps every answer that it acknowledged, each once."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "rating.py"


def benchmark() -> ModuleType:
    """The same code as the benchmark, which does this with more raters and more kills."""
    spec = importlib.util.spec_from_file_location("rating_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_acknowledged_answer_is_lost(tmp_path: Path, where: str) -> None:
    said, lost = benchmark().kill_and_count(tmp_path, where, raters=6, kills=2, tasks=200)
    assert said >= 18
    assert lost == 0
