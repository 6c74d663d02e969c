"""What a comparison comes to: the result of ``reteach compare`` and ``demo``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from ..frames import AsTable, Table
from ..inline import InNotebook
from ..metrics.registry import columns as titles_of
from ..records.comparisons import COMPARISON, ComparisonRow
from ..unreadable import Unreadable
from .lines import table_lines


@final
@dataclass(frozen=True)
class CompareResult(InNotebook, AsTable):
    """A finished comparison.

    Args:
        report: the page.
        numbers: the JSON file of the results.
        results: method -> metric -> ``mean``, ``n`` and of several seeds ``std``.
        unreadable: what could not be read.
        collapsed: method -> how many of its trainings drifted to every class present, and what of their
            steps was spared.
        next: what to do next, in lines.
    """

    report: Path
    numbers: Path
    results: Mapping[str, Mapping[str, Mapping[str, float]]]
    unreadable: Unreadable = field(default_factory=Unreadable)
    collapsed: Mapping[str, str] = field(default_factory=dict)
    next: tuple[str, ...] = field(default=(), metadata={"json": False})

    @classmethod
    def of(cls, folder: Path, results: dict[str, Any], *next: str) -> CompareResult:
        """What :func:`reteach.compare.compare.compare` left in its folder."""
        record = COMPARISON.read(folder)
        rows = record.rows if record is not None else ()
        collapsed = {row.name: _collapsed(row) for row in rows if row.collapsed}
        return cls(
            folder / "report.html",
            folder / "results.json",
            results,
            collapsed=collapsed,
            next=next,
        )

    def table(self) -> Table:
        """A row for each method and metric: method, metric, mean, std (null of one seed), n."""
        import pyarrow as pa

        rows = [
            {"method": method, "metric": metric, **{k: entry.get(k) for k in ("mean", "std", "n")}}
            for method, metrics in self.results.items()
            for metric, entry in metrics.items()
        ]
        return Table(pa.Table.from_pylist(rows), self.unreadable)

    def lines(self) -> Iterator[str]:
        """Methods in rows, mean ± deviation in columns; then the files."""
        rows = self.results.values()
        clean = any("best" in row for row in rows)
        titles = (
            titles_of("table/clean") if clean else titles_of("table", "table/sets", "table/single")
        )
        # As on the page: what the comparison is about comes first.
        columns = list(dict.fromkeys(key for row in rows for key in row if key in titles))
        cells = [
            (name, *(_cell(row.get(key)) for key in columns)) for name, row in self.results.items()
        ]
        yield from table_lines(("", *(titles[key] for key in columns)), cells)
        for name, words in self.collapsed.items():
            yield f"collapsed: {name}, {words}; its numbers are of the models kept from before, or the last"
        if all(entry["n"] < 2 for row in rows for entry in row.values()):
            yield "one seed: no deviation, no interval; --seeds 5 tells a difference from chance"
        yield f"report: {self.report}"
        yield f"numbers: {self.numbers}"
        yield from self.next


def _cell(entry: Mapping[str, float] | None) -> str:
    if entry is None:
        return ""
    return f"{entry['mean']:.1f}" + (f"±{entry['std']:.1f}" if entry["n"] > 1 else "")


def _collapsed(row: ComparisonRow) -> str:
    of = len(row.seconds)
    return f"{row.collapsed} of {of} trainings, {row.spared:.0%} of their steps spared"
