"""The rows of a comparison as values: who took part, under which settings, with which numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from ..options.methods import method_title
from ..records.comparisons import ComparisonRecord, ComparisonRow, Numbers
from ..records.runs import Number


@final
@dataclass(frozen=True)
class Entry:
    """A row. ``values``: metric -> one number per seed (those that are known); ``history``: per seed,
    (step, metric -> value) in the order of the steps; ``collapsed``: how many of its trainings did."""

    name: str
    title: str
    method: str
    settings: dict[str, Any]
    trivial: bool
    control: str
    values: dict[str, list[float]]
    history: tuple[tuple[Numbers, ...], ...]
    seconds: list[float]
    collapsed: int = 0

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


def entries(record: ComparisonRecord) -> list[Entry]:
    """The rows of ``comparison.json``."""
    return [_entry(row) for row in record.rows]


def most_seeds(found: Sequence[Entry]) -> int:
    """The number of seeds of the entry that has most; one alone has no deviation and no interval."""
    return max((len(v) for e in found for v in e.values.values()), default=0)


def leaders(found: Sequence[Entry], metric: str, better: int, most: int) -> list[Entry]:
    """The ``most`` best competing entries by a metric, in their own order."""
    main = [e for e in found if e.main and e.mean(metric) is not None]
    ranked = sorted(main, key=lambda e: -(better or 1) * (e.mean(metric) or 0.0))[:most]
    return [e for e in main if e in ranked]


def _entry(row: ComparisonRow) -> Entry:
    title = row.name
    if row.method and row.name.startswith(row.method):
        title = method_title(row.method) + row.name[len(row.method) :]
    return Entry(
        row.name,
        title,
        row.method,
        row.settings,
        row.trivial,
        row.control or "",
        {metric: _known(numbers) for metric, numbers in row.values.items()},
        row.history,
        _known(row.seconds),
        row.collapsed,
    )


def _known(numbers: Sequence[Number]) -> list[float]:
    return [value for value in numbers if value is not None]
