"""Works in processes of their own: what comes back, and what happens when one fails or is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from reteach.engine import parallel_training as module
from reteach.engine.parallel_training import train_parallel
from reteach.errors import Interrupted, UserError


@dataclass(frozen=True)
class Writing:
    """Leaves a file that says with how many threads it computed."""

    name: str
    folder: Path

    def __call__(self, on_progress: Callable[[int], None]) -> dict[str, str]:
        on_progress(3)
        (self.folder / self.name).write_text(str(torch.get_num_threads()))
        return {f"{self.name}.jpg": "broken"}


@dataclass(frozen=True)
class Failing:
    name: str
    how: str

    def __call__(self, on_progress: Callable[[int], None]) -> dict[str, str]:
        if self.how == "user":
            raise UserError("the loss is not finite")
        if self.how == "bug":
            raise ZeroDivisionError
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@dataclass(frozen=True)
class Waiting:
    """Goes on until it is told to stop."""

    name: str
    folder: Path

    def __call__(self, on_progress: Callable[[int], None]) -> dict[str, str]:
        told = []
        signal.signal(signal.SIGTERM, lambda *_: told.append(1))
        (self.folder / "begun").touch()
        while not told:
            time.sleep(0.02)
        (self.folder / "stopped").touch()
        raise Interrupted("stopped")


def test_all_are_done_and_what_they_say_comes_back(tmp_path):
    works = [Writing(name, tmp_path) for name in "ab"]
    assert train_parallel(works, 1, "writing", 6) == {f"{n}.jpg": "broken" for n in "ab"}
    assert {(tmp_path / n).read_text() for n in "ab"} == {str(torch.get_num_threads())}


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("user", UserError, "^the loss is not finite$"),
        ("bug", RuntimeError, r"one failed:(.|\n)*ZeroDivisionError"),
    ],
)
def test_what_a_work_raises_is_raised_here(how, kind, message):
    with pytest.raises(kind, match=message):
        train_parallel([Failing("one", how)], 1, "failing", 1)


def test_a_killed_process_is_named():
    with pytest.raises(UserError, match=r"process of one ended by itself .signal 9; out of memory"):
        train_parallel([Failing("one", "kill")], 1, "failing", 1)


def test_an_interrupt_stops_all_of_them(tmp_path):
    class Here:
        """Interrupts this process as soon as the work has begun."""

        def __call__(self) -> bool:
            return (tmp_path / "begun").exists()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "noting_signals", lambda: nullcontext(Here()))
        with pytest.raises(Interrupted, match="1 of 1 to go"):
            train_parallel([Waiting("one", tmp_path)], 1, "waiting", 1)
    assert (tmp_path / "stopped").exists()
