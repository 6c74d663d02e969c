"""Trainings that do not need each other, each in a process of its own, several at a time.

What a process trains it keeps in the run folder, as a stage of a branch (:meth:`Run.branch`): so whoever
asked for it loads it afterwards, whether it was trained there, here, or before the last crash.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, final

import torch

from ..errors import Interrupted, UserError
from ..processes import Told, WorkerFailure, WorkerPool, tell
from ..progress import progress
from . import distributed
from .algorithm import Algorithm
from .run import Run, noting_signals

if TYPE_CHECKING:
    from .setup import Setup

_LOOK = 0.2  # seconds between looks at the processes


class Work(Protocol):
    """One training; it travels to its process."""

    @property
    def name(self) -> str:
        """What it is called."""

    def __call__(self, on_progress: Callable[[int], None]) -> dict[str, str]:
        """Train, telling the steps done; returns item -> reason of images that cannot be read."""


@final
@dataclass(frozen=True, eq=False)
class Task:
    """A training that needs no other one.

    Args:
        name: of its stage.
        steps: of its training.
        train: (setup, run, sinks of a log) -> what is trained, now or before; it must travel to a process.
    """

    name: str
    steps: int
    train: Callable[..., Algorithm]


@final
@dataclass(frozen=True, eq=False)
class _Elsewhere:
    """A task in a process of its own."""

    task: Task
    setup: Setup
    folder: Path
    seed: int
    snapshot_seconds: float

    @property
    def name(self) -> str:
        return self.task.name

    def __call__(self, on_progress: Callable[[int], None]) -> dict[str, str]:
        """Train it; what it learned stays in its stage of the run folder."""
        run = Run(self.folder, self.seed, snapshot_seconds=self.snapshot_seconds, quiet=True)
        self.task.train(self.setup, run, lambda record: on_progress(record["step"]))
        return self.setup.broken


def train_tasks(tasks: Sequence[Task], setup: Setup, run: Run, processes: int, title: str) -> None:
    """Train several tasks at a time, if that is wanted; afterwards each is there to be loaded.

    Raises:
        UserError: there is no run folder to keep them in, or several processes train already.
    """
    left = [task for task in tasks if run.trained(task.name) < task.steps]
    if min(processes, len(left)) <= 1:
        return
    if run.folder is None or distributed.world() > 1:
        raise UserError("--parallel is for a single process with a run folder, not for torchrun")
    workers = max(1, setup.workers // processes) if setup.workers else 0
    alone = replace(setup, judge=None, unlabeled=None, workers=workers)
    works = [_Elsewhere(task, alone, run.folder, run.seed, run.snapshot_seconds) for task in left]
    steps = sum(task.steps for task in left)
    setup.broken.update(train_parallel(works, processes, title, steps))


@final
@dataclass(frozen=True)
class _Training:
    """number -> what that work ends with; runs in the process of a worker."""

    works: Sequence[Work]
    threads: int

    def __call__(self, number: int) -> dict[str, str]:
        torch.set_num_threads(self.threads)
        work, sent = self.works[number], 0.0

        def steps(done: int) -> None:
            nonlocal sent
            if time.monotonic() - sent > _LOOK:
                sent = time.monotonic()
                tell(done)

        try:
            return work(steps)
        except (UserError, Interrupted):
            raise
        except KeyboardInterrupt:
            raise Interrupted(f"{work.name} was stopped") from None
        except Exception:
            raise RuntimeError(f"{work.name} failed:\n{traceback.format_exc()}") from None


def train_parallel(works: Sequence[Work], processes: int, title: str, total: int) -> dict[str, str]:
    """Do all of the works, ``processes`` at a time; returns all images that cannot be read.

    Each process computes with as many threads as this one has, so that the numbers are those of doing
    one after the other here. Where there are several GPUs, each takes the next.

    Args:
        title: for the progress.
        total: steps of all works together.

    Raises:
        UserError: what one of the works raised, or that it was killed; the others have stopped with
            their snapshots written.
        Interrupted: by Ctrl-C or SIGTERM, likewise.
    """
    broken: dict[str, str] = {}
    done = dict.fromkeys(range(len(works)), 0)
    left = len(works)
    training = _Training(works, torch.get_num_threads())
    with (
        noting_signals() as interrupted,
        progress(title, total) as on_progress,
        WorkerPool(training, range(len(works)), processes, trainings=True, devices=_gpus()) as pool,
    ):
        while pool.workers:
            for number, said in pool.events(_LOOK):
                if isinstance(said, Told):
                    done[number] = said.value
                    continue
                if isinstance(said, WorkerFailure):
                    raise UserError(
                        f"the process of {works[number].name} ended by itself ({said.how}; out of memory?): "
                        "try fewer at a time; what is finished is kept"
                    )
                broken |= said
                left -= 1
            if interrupted():
                raise Interrupted(f"stopped with {left} of {len(works)} to go")
            names = ", ".join(works[worker.rows[0]].name for worker in pool.workers)
            on_progress(min(total, sum(done.values())), names)
    return broken


def _gpus() -> list[str]:
    """The graphics cards by which processes are to take turns; none where there are not several."""
    if not torch.cuda.is_available() or torch.cuda.device_count() < 2:
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else list(map(str, range(torch.cuda.device_count())))
