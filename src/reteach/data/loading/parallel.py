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
class Lost:
    """There is no result for a row, because the process that worked on it died or hung."""

    reason: str


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    work: Callable[[int], T], rows: Sequence[int], workers: int, patience: float = 60.0
) -> Iterator[tuple[int, T | Lost]]:
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
    crew = _Crew(work, deque(rows), chunk, patience)
    try:
        for _ in range(min(workers, len(rows))):
            crew.hire()
        while crew.hands:
            yield from crew.results()
    finally:
        crew.dismiss()


@final
@dataclass(eq=False)
class _Hand:
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
class _Crew(Generic[T]):
    def __init__(
        self, work: Callable[[int], T], todo: deque[int], chunk: int, patience: float
    ) -> None:
        self.work = work
        self.todo = todo
        self.chunk = chunk
        self.patience = patience
        self.suspects: set[int] = set()
        self.hands: list[_Hand] = []

    def hire(self) -> None:
        """Start a worker, with something to do."""
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(
            target=_serve, args=(self.work, theirs, ours), daemon=True
        )
        process.start()
        theirs.close()
        hand = _Hand(process, ours)
        self.hands.append(hand)
        self._feed(hand)

    def results(self) -> Iterator[tuple[int, T | Lost]]:
        """What has come in since the last time; waits for something to happen."""
        by_pipe = {hand.pipe: hand for hand in self.hands}
        pause = min(hand.deadline(self.patience) for hand in self.hands) - time.monotonic()
        for pipe in wait(list(by_pipe), timeout=max(pause, 0.0)):
            hand = by_pipe[pipe]  # type: ignore[index]
            try:
                message = hand.pipe.recv()
            except (EOFError, OSError):
                yield from self._died(hand)
                continue
            hand.since = time.monotonic()
            if message is None:
                hand.ready = True
                continue
            row, result, error = message
            if error is not None:
                raise error
            hand.rows.popleft()
            self._feed(hand)
            yield row, result
        for hand in list(self.hands):
            if time.monotonic() > hand.deadline(self.patience) and not hand.pipe.poll():
                self._release(hand)
                if not hand.ready:
                    raise RuntimeError(f"a worker process has not started within {_START:g} s")
                yield hand.rows.popleft(), Lost(f"reading it takes more than {self.patience:g} s")
                self._replace(hand)

    def dismiss(self) -> None:
        """Stop all workers."""
        for hand in list(self.hands):
            self._release(hand)

    def _feed(self, hand: _Hand) -> None:
        if not hand.rows:
            hand.since = time.monotonic()
            if not self.todo:
                self._release(hand)
                return
        if len(hand.rows) > self.chunk:
            return
        more = [self.todo.popleft() for _ in range(min(self.chunk, len(self.todo)))]
        if more:
            hand.rows.extend(more)
            with suppress(OSError):  # it has died; the next receive says so
                hand.pipe.send(more)

    def _died(self, hand: _Hand) -> Iterator[tuple[int, Lost]]:
        self._release(hand)
        if not hand.ready:
            raise RuntimeError(
                f"a worker process ended as soon as it started (exit code {hand.process.exitcode}); "
                "a script must do its work below: if __name__ == '__main__'"
            )
        if hand.rows:
            row = hand.rows[0]
            if row in self.suspects:
                hand.rows.popleft()
                code = hand.process.exitcode
                how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
                yield row, Lost(f"reading it kills the process ({how}; out of memory?)")
            self.suspects.add(row)
        self._replace(hand)

    def _replace(self, hand: _Hand) -> None:
        self.todo.extendleft(reversed(hand.rows))
        if self.todo:
            self.hire()

    def _release(self, hand: _Hand) -> None:
        self.hands.remove(hand)
        hand.process.kill()
        hand.process.join()
        hand.pipe.close()


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
