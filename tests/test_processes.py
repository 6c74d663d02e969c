"""One default number of processes, which honours the cores that this process may use."""

import os
from pathlib import Path

import pytest

import reteach
from reteach.processes import cores, decoders


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no CPU affinity")
def test_default_number_of_processes_honours_cpu_affinity() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert (cores(), decoders(None)) == (1, 1)
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)


def test_as_many_processes_decode_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reteach.processes.cores", lambda: 64)
    assert (decoders(None), decoders(0), decoders(20)) == (8, 0, 20)


def test_default_number_of_processes_is_defined_once() -> None:
    root = Path(reteach.__file__).parent
    counting = ("cpu_count", "sched_getaffinity")
    files = [p for p in root.rglob("*.py") if any(word in p.read_text() for word in counting)]
    assert [p.name for p in files] == ["processes.py"]
