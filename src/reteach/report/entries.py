"""The rows of a comparison as values: who took part, under which settings, with which numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from .. import formatting
from . import reading
from .names import method_name


@final
@dataclass(frozen=True)
class Entry:
    """A row. ``values``: metric -> one number per seed (those that are known); ``history``: per seed,
    (step, metric -> value) in the order of the steps."""

    name: str
    title: str
    method: str
    settings: dict[str, Any]
    trivial: bool
    control: str
    values: dict[str, list[float]]
    history: list[list[dict[str, Any]]]
    seconds: list[float]

    @property
    def main(self) -> bool:
        """A method that competes: no control, no trivial answer."""
        return not self.trivial and not self.control

    def mean(self, metric: str) -> float | None:
        """The mean over the seeds."""
        known = self.values.get(metric)
        return statistics.fmean(known) if known else None

    def deviation(self, metric: str) -> float | None:
        """The sample standard deviation over the seeds; None of a single one."""
        known = self.values.get(metric, [])
        return statistics.stdev(known) if len(known) > 1 else None


def entries(content: dict[str, Any], where: str) -> list[Entry]:
    """The rows of ``comparison.json``."""
    return [_entry(row, where) for row in reading.mappings(content.get("rows"), where)]


def leaders(found: Sequence[Entry], metric: str, better: int, most: int) -> list[Entry]:
    """The ``most`` best competing entries by a metric, in their own order."""
    main = [e for e in found if e.main and e.mean(metric) is not None]
    ranked = sorted(main, key=lambda e: -(better or 1) * (e.mean(metric) or 0.0))[:most]
    return [e for e in main if e in ranked]


def _entry(row: dict[str, Any], where: str) -> Entry:
    name, method = str(row.get("name", "")), str(row.get("method") or "")
    title = name
    if method and name.startswith(method):
        title = method_name(method) + name[len(method) :]
    values = {
        metric: _known(numbers, where)
        for metric, numbers in reading.mapping(row.get("values"), where).items()
    }
    history = [reading.mappings(h, where) for h in reading.items(row.get("history"), where)]
    return Entry(
        name,
        title,
        method,
        reading.mapping(row.get("settings"), where),
        bool(row.get("trivial")),
        str(row.get("control") or ""),
        values,
        history,
        _known(row.get("seconds"), where),
    )


def _known(numbers: Any, where: str) -> list[float]:
    found = map(formatting.finite, reading.items(numbers, where))
    return [value for value in found if value is not None]
