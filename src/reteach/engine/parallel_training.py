"""Trainings that do not need each other, each in a process of its own, several at a time.

What a process trains it keeps in the run folder, as a stage of a branch (:meth:`Run.branch`): so whoever
asked for it loads it afterwards, whether it was trained there, here, or before the last crash.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

import torch

from ..errors import Interrupted, UserError
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

    def __call__(self, tell: Callable[[int], None]) -> dict[str, str]:
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

    def __call__(self, tell: Callable[[int], None]) -> dict[str, str]:
        """Train it; what it learned stays in its stage of the run folder."""
        run = Run(self.folder, self.seed, snapshot_seconds=self.snapshot_seconds, quiet=True)
        self.task.train(self.setup, run, lambda record: tell(record["step"]))
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
@dataclass(eq=False)
class _Worker:
    """A process at work."""

    work: Work
    process: BaseProcess
    pipe: Connection
    done: int = 0


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
    waiting, workers, finished = list(works), list[_Worker](), 0
    broken: dict[str, str] = {}
    error: Exception | None = None
    with noting_signals() as interrupted, progress(title, total) as show:
        while (waiting and error is None) or workers:
            if interrupted() and error is None:
                error = Interrupted(
                    f"stopped with {len(waiting) + len(workers)} of {len(works)} to go"
                )
                _stop(workers)
            while waiting and error is None and len(workers) < processes:
                workers.append(_start(waiting.pop(0), len(works) - len(waiting) - 1))
            wait([worker.pipe for worker in workers], _LOOK)
            for worker in list(workers):
                said = _heard(worker)
                if said is None:
                    continue
                workers.remove(worker)
                worker.process.join()
                finished += worker.done
                if isinstance(said, dict):
                    broken |= said
                elif error is None:
                    error = said
                    _stop(workers)
            names = ", ".join(worker.work.name for worker in workers)
            show(min(total, finished + sum(worker.done for worker in workers)), names)
    if error is not None:
        raise error
    return broken


def _start(work: Work, number: int) -> _Worker:
    context = get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_serve, args=(work, theirs, torch.get_num_threads(), os.getpid()), name=work.name
    )
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.cuda.is_available() and torch.cuda.device_count() > 1:
        known = before.split(",") if before else list(map(str, range(torch.cuda.device_count())))
        os.environ["CUDA_VISIBLE_DEVICES"] = known[number % len(known)]
    try:
        process.start()
    finally:
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
        else:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    theirs.close()
    return _Worker(work, process, mine)


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()  # they write their snapshots and end


def _heard(worker: _Worker) -> dict[str, str] | Exception | None:
    """What a process ended with, or None while it works; counts its steps."""
    try:
        while worker.pipe.poll():
            kind, content = worker.pipe.recv()
            if kind == "steps":
                worker.done = content
            elif kind == "done":
                found: dict[str, str] = content
                return found
            elif kind == "user":
                return UserError(content)
            elif kind == "interrupted":
                return Interrupted(content)
            else:
                return RuntimeError(f"{worker.work.name} failed:\n{content}")
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return UserError(
            f"the process of {worker.work.name} ended by itself ({how}; out of memory?): try fewer at a "
            "time; what is finished is kept"
        )
    return None


def _serve(work: Work, pipe: Connection, threads: int, parent: int) -> None:
    """The life of such a process."""
    torch.set_num_threads(threads)
    threading.Thread(target=_outlive_nobody, args=(parent,), daemon=True).start()
    sent = 0.0

    def tell(steps: int) -> None:
        nonlocal sent
        if time.monotonic() - sent > _LOOK:
            sent = time.monotonic()
            pipe.send(("steps", steps))

    message: tuple[str, Any]
    try:
        message = ("done", work(tell))
    except UserError as error:
        message = ("user", str(error))
    except (Interrupted, KeyboardInterrupt) as error:
        message = ("interrupted", str(error))
    except Exception:
        message = ("failed", traceback.format_exc())
    try:
        pipe.send(message)
    except OSError:
        sys.exit(1)


def _outlive_nobody(parent: int) -> None:
    """End at once when the process that started this one has gone, or two would train one stage."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
