"""How a row of the table is measured: contenders take turns, and the ratios are of pairs.

A machine may be shared and change its speed from minute to minute. So what counts is processor time, every
round runs all contenders one after the other in a rotating order, and the ratio is taken within a round; the
median round stands in the table, with the lowest and the highest beside it. The first round warms up and does
not count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from resource import RLIMIT_CPU, RUSAGE_CHILDREN, RUSAGE_SELF, getrusage, setrlimit
from signal import SIGKILL, SIGXCPU
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FEWEST, MOST = 3, 9
"""Rounds that count."""
MORE_IS_BETTER = {"F1"}
"""Quantities of which more is better; of all others (s, ms, MB) less."""
_LIBRARIES = ("OMP", "OPENBLAS", "MKL", "RAYON", "ARROW")
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in _LIBRARIES} | {
    "POLARS_MAX_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
"""The surroundings of whoever takes part."""

Contender = Callable[[int], Mapping[str, float]]
"""Runs once, in round n, and says what it took: quantity -> amount."""


class Missing(Exception):
    """A peer that cannot take part, and why."""


@dataclass(frozen=True)
class Contest:
    """Ours against the peers on one task.

    Args:
        what: the task and its size, in a line.
        ours: reteach.
        peers: name -> function that makes it ready; it may raise ``ImportError`` or :class:`Missing`.
        goals: (peer, quantity) -> the ratio that we want at least.
        note: what else is to be known once all have run, e.g. how far the results are apart; an
            ``AssertionError`` fails the row.
    """

    what: str
    ours: Contender
    peers: Mapping[str, Callable[[], Contender]]
    goals: Mapping[tuple[str, str], float] = field(default_factory=dict)
    note: Callable[[], str] | None = None


@dataclass(frozen=True)
class Line:
    """A line of the table: one peer and one quantity, or why there is none."""

    row: str
    what: str
    peer: str
    quantity: str = ""
    ratios: tuple[float, ...] = ()
    """Above 1: reteach is better by this factor, one for each round."""
    ours: float = 0
    theirs: float = 0
    goal: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        return median(self.ratios)


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
    return sum(each.ru_utime + each.ru_stime for each in used)


def timed(work: Callable[[], Any], keep: Callable[[Any], None] | None = None) -> Contender:
    """Processor seconds of this process and of those that it waited for.

    Args:
        keep: is given the result.
    """

    def run(number: int) -> Mapping[str, float]:
        start = cpu_seconds()
        found = work()
        took = cpu_seconds() - start
        if keep is not None:
            keep(found)
        return {"s": took}

    return run


def measured(row: str, contest: Contest, seconds: float) -> list[Line]:
    """The lines of a row, whose rounds take about so many seconds but are at least :data:`FEWEST`."""
    ready: dict[str, Contender] = {"reteach": contest.ours}
    missing: dict[str, str] = {}
    for name, make in contest.peers.items():
        try:
            ready[name] = make()
        except ImportError as error:
            missing[name] = f"not installed ({error.name or error})"
        except Missing as error:
            missing[name] = str(error)
    rounds = list(_rounds(ready, seconds))
    note = contest.note() if contest.note is not None else ""
    lines = []
    for name in contest.peers:
        if name in missing:
            lines.append(Line(row, contest.what, name, note=missing[name]))
            continue
        for quantity in rounds[0][name]:
            mine = [found["reteach"][quantity] for found in rounds]
            theirs = [found[name][quantity] for found in rounds]
            better = _ratios(mine, theirs, quantity)
            goal = contest.goals.get((name, quantity))
            lines.append(
                Line(row, contest.what, name, quantity, better, median(mine), median(theirs), goal, note)
            )  # fmt: skip
    return lines


def _ratios(mine: list[float], theirs: list[float], quantity: str) -> tuple[float, ...]:
    pairs = zip(mine, theirs, strict=True)
    if quantity in MORE_IS_BETTER:
        return tuple(a / b for a, b in pairs)
    return tuple(b / a for a, b in pairs)


def _rounds(
    contenders: Mapping[str, Contender], seconds: float
) -> Iterator[dict[str, Mapping[str, float]]]:
    names, end, length = list(contenders), 0.0, 0.0
    for number in range(MOST + 1):
        began = time.monotonic()
        if number > FEWEST and began + length > end:
            return
        turn = names[number % len(names) :] + names[: number % len(names)]
        found = {name: contenders[name](number) for name in turn}
        length = time.monotonic() - began
        if number:
            yield found
        else:
            end = time.monotonic() + seconds


def alone(row: str, seconds: float, limit: int) -> list[Line]:
    """A row, in a process of its own: its memory goes with it, and its failure is a line."""
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "benchmarks", row, "--seconds", str(seconds), "--lines"]
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        preexec_fn=lambda: setrlimit(RLIMIT_CPU, (limit, limit)),
    )
    if done.returncode in (-SIGXCPU, -SIGKILL):
        return [
            Line(row, "", "", note=f"failed: killed, or took more than {limit} s of a processor")
        ]
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return [Line(row, "", "", note=f"failed: {said[:200]}")]
    return [as_line(found) for found in json.loads(done.stdout.splitlines()[-1])]


def as_line(found: dict[str, Any]) -> Line:
    """A line from what :func:`as_json` wrote."""
    return Line(**found | {"ratios": tuple(found["ratios"])})


def as_json(lines: list[Line]) -> str:
    """Lines, on one line."""
    return json.dumps([asdict(line) for line in lines])
