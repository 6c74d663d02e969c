"""Worker processes: how many there are, and what becomes of them when one or their parent is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import reteach
from reteach.processes import WorkerFailure, WorkerPool, cores, decoders


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


def _deed(row: int) -> int:
    if row == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return row


@pytest.mark.parametrize("trainings", [False, True])
def test_a_row_that_kills_its_process_is_named_and_the_rest_goes_on(trainings: bool) -> None:
    with WorkerPool(_deed, range(4), 1, trainings=trainings) as pool:
        got: dict[int, Any] = {}
        while pool.workers:
            got |= dict(pool.results())
    failure = got.pop(1)
    assert got == {0: 0, 2: 2, 3: 3}
    assert isinstance(failure, WorkerFailure)
    assert failure.how == "signal 9"


def _sleep(row: int) -> None:
    Path(os.environ["PIDS"], str(os.getpid())).touch()
    time.sleep(60)


def _gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().split()[2] == "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    source = Path(reteach.__file__).parents[1]
    script = (
        "from reteach.processes import each; from test_processes import _sleep; "
        "list(each(_sleep, range(2), 2))"
    )
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, source)))}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env=os.environ | paths | {"PIDS": str(tmp_path)}
    )
    deadline = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(file.name) for file in tmp_path.iterdir()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    while not all(map(_gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(_gone, pids))
