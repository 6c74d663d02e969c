"""Work on rows in processes that may crash or hang: the row is named, and the rest goes on.

A DataLoader or a process pool gives up altogether when one worker is killed. Looking at a million
files that nobody has ever opened needs something sturdier.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar, final

T = TypeVar("T")

_CHUNK = 8
"""The most rows that a worker is given at once; the next ones come before it has to wait."""

_START = 60.0
"""Seconds that a worker process may take to start."""


@final
@dataclass(frozen=True)
class WorkerFailure:
    """There is no result for a row, because the process that worked on it died or hung."""

    reason: str


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
    work: Callable[[int], T], rows: Sequence[int], workers: int, patience: float = 60.0
) -> Iterator[tuple[int, T | WorkerFailure]]:
    """``(row, work(row))`` for each row, in the order in which they get ready.

    Args:
        work: can be pickled. An exception in it ends everything.
        workers: processes; 0 works right here, with no protection.
        patience: seconds after which a row is given up and its process killed.

    A row whose process dies is tried once more: perhaps memory was short for a moment.
    """
    if workers == 0:
        yield from ((row, work(row)) for row in rows)
        return
    chunk = max(1, min(_CHUNK, len(rows) // (4 * workers)))  # few rows are shared out evenly
    pool = _WorkerPool(work, deque(rows), chunk, patience)
    try:
        for _ in range(min(workers, len(rows))):
            pool.start_worker()
        while pool.workers:
            yield from pool.results()
    finally:
        pool.dismiss()


@final
@dataclass(eq=False)
class _Worker:
    """A worker process: the rows it has, oldest first, and when it began with that one."""

    process: Any
    pipe: Connection
    rows: deque[int] = field(default_factory=deque)
    since: float = 0.0
    ready: bool = False

    def deadline(self, patience: float) -> float:
        """When it has to say something."""
        return self.since + (patience if self.ready else max(patience, _START))


@final
class _WorkerPool(Generic[T]):
    def __init__(
        self, work: Callable[[int], T], todo: deque[int], chunk: int, patience: float
    ) -> None:
        self.work = work
        self.todo = todo
        self.chunk = chunk
        self.patience = patience
        self.suspects: set[int] = set()
        self.workers: list[_Worker] = []

    def start_worker(self) -> None:
        """Start a worker, with something to do."""
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(
            target=_serve, args=(self.work, theirs, ours), daemon=True
        )
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self.workers.append(worker)
        self._feed(worker)

    def results(self) -> Iterator[tuple[int, T | WorkerFailure]]:
        """What has come in since the last time; waits for something to happen."""
        by_pipe = {worker.pipe: worker for worker in self.workers}
        pause = min(worker.deadline(self.patience) for worker in self.workers) - time.monotonic()
        for pipe in wait(list(by_pipe), timeout=max(pause, 0.0)):
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
                    raise RuntimeError(f"a worker process has not started within {_START:g} s")
                yield (
                    worker.rows.popleft(),
                    WorkerFailure(f"reading it takes more than {self.patience:g} s"),
                )
                self._replace(worker)

    def dismiss(self) -> None:
        """Stop all workers."""
        for worker in list(self.workers):
            self._release(worker)

    def _feed(self, worker: _Worker) -> None:
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

    def _died(self, worker: _Worker) -> Iterator[tuple[int, WorkerFailure]]:
        self._release(worker)
        if not worker.ready:
            raise RuntimeError(
                f"a worker process ended as soon as it started (exit code {worker.process.exitcode}); "
                "a script must do its work below: if __name__ == '__main__'"
            )
        if worker.rows:
            row = worker.rows[0]
            if row in self.suspects:
                worker.rows.popleft()
                code = worker.process.exitcode
                how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
                yield row, WorkerFailure(f"reading it kills the process ({how}; out of memory?)")
            self.suspects.add(row)
        self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        self.todo.extendleft(reversed(worker.rows))
        if self.todo:
            self.start_worker()

    def _release(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def _serve(work: Callable[[int], Any], pipe: Connection, parents_end: Connection) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    parents_end.close()
    parent = os.getppid()
    pipe.send(None)
    try:
        while True:
            while not pipe.poll(5.0):
                if os.getppid() != parent:
                    return
            for row in pipe.recv():
                message: tuple[int, Any, Exception | None]
                try:
                    message = (row, work(row), None)
                except Exception as error:
                    message = (row, None, error)
                pipe.send(message)
    except (EOFError, OSError):
        return  # the parent is gone
