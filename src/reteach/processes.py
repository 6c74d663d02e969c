"""Worker processes that may crash, hang or be interrupted: what they were at is named, and the rest goes on.

A DataLoader or a process pool gives up altogether when one worker is killed. Looking at a million
files that nobody has ever opened, or training for days, needs something sturdier.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar, final

from .errors import UserError

T = TypeVar("T")

_CHUNK = 8
"""The most rows that a worker is given at once; the next ones come before it has to wait."""

_START = 60.0
"""Seconds that a worker process may take to start."""


@final
@dataclass(frozen=True)
class WorkerFailure:
    """There is no result for a row, because the process that worked on it died or hung.

    Args:
        how: the signal or exit code of one that died.
    """

    reason: str
    how: str = field(default="", compare=False)


@final
@dataclass(frozen=True)
class Told:
    """What a worker says of a row before it is done (see :func:`tell`)."""

    value: Any


def cores() -> int:
    """Processors that this process may use: how many processes there are where nobody says a number."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decoders(asked: int | None) -> int:
    """How many processes decode images for a network; it does not keep more than 8 busy."""
    return min(8, cores()) if asked is None else asked


def readers(asked: int | None, images: int) -> int:
    """How many processes look at images one by one; a few hundred are not worth starting one."""
    return min(cores(), images // 500) if asked is None else asked


def each(
    work: Callable[[int], T],
    rows: Sequence[int],
    workers: int,
    patience: float = 60.0,
    ahead: int = _CHUNK,
) -> Iterator[tuple[int, T | WorkerFailure]]:
    """``(row, work(row))`` for each row, in the order in which they get ready.

    Args:
        work: can be pickled. An exception in it ends everything.
        workers: processes; 0 works right here, with no protection.
        patience: seconds after which a row is given up and its process killed.
        ahead: the most rows that a worker is given at once. Of 1, none is begun before the one before it
            was taken.

    A row whose process dies is tried once more: perhaps memory was short for a moment.
    """
    if workers == 0:
        yield from ((row, work(row)) for row in rows)
        return
    chunk = max(1, min(ahead, len(rows) // (4 * workers)))  # few rows are shared out evenly
    with WorkerPool(work, rows, workers, chunk=chunk, patience=patience) as pool:
        while pool.workers:
            yield from pool.results()


def tell(value: Any) -> None:
    """Say how far the row at work is, in a worker process."""
    _PIPES[-1].send(Told(value))


_PIPES: list[Connection] = []
"""The way to the parent, in a worker process."""


@final
@dataclass(eq=False)
class Worker:
    """A worker process: the rows it has, oldest first, and when it began with that one."""

    process: Any
    pipe: Connection
    rows: deque[int] = field(default_factory=deque)
    since: float = 0.0
    ready: bool = False

    def deadline(self, patience: float) -> float:
        """When it has to say something."""
        return self.since + (patience if self.ready else max(patience, _START))

    def end(self) -> str:
        """What the process has ended with."""
        code = self.process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


@final
class WorkerPool(Generic[T]):
    """Processes that share rows; a context, at whose end they are stopped.

    Args:
        work: row -> result; can be pickled. What it raises is raised here.
        workers: processes.
        chunk: rows that a worker is given ahead.
        patience: seconds after which a row is given up and its process killed.
        trainings: they are processes of their own (spawned) that end by SIGTERM, with time to keep what
            they have, and a row whose process dies is not tried again.
        devices: values of CUDA_VISIBLE_DEVICES, which the processes take in turn.
    """

    def __init__(
        self,
        work: Callable[[int], T],
        rows: Sequence[int],
        workers: int,
        *,
        chunk: int = 1,
        patience: float = math.inf,
        trainings: bool = False,
        devices: Sequence[str] = (),
    ) -> None:
        self.work = work
        self.todo = deque(rows)
        self.chunk = chunk
        self.patience = patience
        self.trainings = trainings
        self.devices = devices
        self.started = 0
        self.suspects: set[int] = set()
        self.workers: list[Worker] = []
        for _ in range(min(workers, len(rows))):
            self._start()

    def __enter__(self) -> WorkerPool[T]:
        return self

    def __exit__(self, *_: object) -> None:
        if self.trainings:
            for worker in self.workers:
                worker.process.terminate()
            for worker in self.workers:
                worker.process.join()
        for worker in list(self.workers):
            self._release(worker)

    def results(self, most: float = math.inf) -> Iterator[tuple[int, T | WorkerFailure]]:
        """What is done since the last time; waits for something to happen, ``most`` seconds at the most."""
        return ((row, said) for row, said in self.events(most) if not isinstance(said, Told))

    def events(self, most: float = math.inf) -> Iterator[tuple[int, T | WorkerFailure | Told]]:
        """As :meth:`results`, with what workers tell before they are done."""
        by_pipe = {worker.pipe: worker for worker in self.workers}
        deadline = min(worker.deadline(self.patience) for worker in self.workers)
        pause = min(max(deadline - time.monotonic(), 0.0), most)
        for pipe in wait(list(by_pipe), timeout=None if math.isinf(pause) else pause):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._died(worker)
                continue
            worker.since = time.monotonic()
            if message is None:
                worker.ready = True
                continue
            if isinstance(message, Told):
                yield worker.rows[0], message
                continue
            row, result, error = message
            if error is not None:
                raise error
            worker.rows.popleft()
            self._feed(worker)
            yield row, result
        for worker in list(self.workers):
            if time.monotonic() > worker.deadline(self.patience) and not worker.pipe.poll():
                self._release(worker)
                if not worker.ready:
                    raise UserError(
                        f"a worker process has not started within {_START:g} s: try fewer --workers"
                    )
                yield (
                    worker.rows.popleft(),
                    WorkerFailure(f"reading it takes more than {self.patience:g} s"),
                )
                self._replace(worker)

    def _start(self) -> None:
        """Start a worker, with something to do."""
        context: Any = multiprocessing.get_context("spawn" if self.trainings else None)
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve,
            args=(self.work, theirs, None if self.trainings else ours, os.getpid()),
            daemon=not self.trainings,  # trainings have workers of their own, which daemons must not
        )
        device = self.devices[self.started % len(self.devices)] if self.devices else None
        with _environment("CUDA_VISIBLE_DEVICES", device):
            process.start()
        theirs.close()
        self.started += 1
        worker = Worker(process, ours)
        self.workers.append(worker)
        self._feed(worker)

    def _feed(self, worker: Worker) -> None:
        if not worker.rows:
            worker.since = time.monotonic()
            if not self.todo:
                self._release(worker)
                return
        if len(worker.rows) > self.chunk:
            return
        more = [self.todo.popleft() for _ in range(min(self.chunk, len(self.todo)))]
        if more:
            worker.rows.extend(more)
            with suppress(OSError):  # it has died; the next receive says so
                worker.pipe.send(more)

    def _died(self, worker: Worker) -> Iterator[tuple[int, WorkerFailure]]:
        self._release(worker)
        how = worker.end()
        if not worker.ready:
            raise UserError(
                f"a worker process ended as soon as it started ({how}): out of memory, or in a script whose "
                "work is not below: if __name__ == '__main__'"
            )
        if worker.rows:
            row = worker.rows[0]
            if self.trainings or row in self.suspects:
                worker.rows.popleft()
                reason = f"reading it kills the process ({how}; out of memory?)"
                yield row, WorkerFailure(reason, how)
            self.suspects.add(row)
        self._replace(worker)

    def _replace(self, worker: Worker) -> None:
        self.todo.extendleft(reversed(worker.rows))
        if self.todo:
            self._start()

    def _release(self, worker: Worker) -> None:
        self.workers.remove(worker)
        if not self.trainings:
            worker.process.kill()
        worker.pipe.close()  # a training's process ends by itself then
        worker.process.join()


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """The environment that a process is started in, with one variable as said; None: as it is."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        elif value is not None:
            del os.environ[name]


def _serve(
    work: Callable[[int], Any], pipe: Connection, parents_end: Connection | None, parent: int
) -> None:
    """The life of a worker process."""
    threading.Thread(target=_outlive_nobody, args=(parent,), daemon=True).start()
    if parents_end is None:
        os.setpgrp()  # Ctrl-C is for the parent, which then tells us to end
    else:
        parents_end.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # likewise, and then it ends us
    _PIPES.append(pipe)
    try:
        pipe.send(None)
        while True:
            for row in pipe.recv():
                try:
                    message = (row, work(row), None)
                except Exception as error:
                    pipe.send((row, None, error))
                    return
                pipe.send(message)
    except (EOFError, OSError):
        return  # the parent is gone


def _outlive_nobody(parent: int) -> None:
    """End at once when the process that started this one has gone, or two would do the same work."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
