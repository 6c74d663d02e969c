"""Results class by class: who is best and worst, the spread, and all of them on request."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from ... import formatting
from ...metrics.registry import metric
from ...records.runs import ClassRow
from ..glossary import abbr
from ..kit.blocks import bar, columns, head, more, named, panel, row, table
from ..kit.charts import histogram
from ..kit.html import Html, join, tag

WHOLE, ENDS = 45, 20
_FRACTIONS = ("ap", "precision", "recall", "f1")
Rows = Sequence[ClassRow]


def per_class(main: str, rows: Rows, others: dict[str, Rows]) -> Html | None:
    """Tables of the classes of the predictor ``main``, with the AP of ``others`` beside it."""
    if not rows:
        return None
    other_ap = {name: {r.class_: r.ap for r in found} for name, found in others.items() if found}
    lines = _Lines(main, rows, other_ap)
    if len(rows) <= WHOLE:
        return join(
            _spread(rows), lines.table(rows, f"All {len(rows)} classes", long=len(rows) > 15)
        )
    known = sorted((r for r in rows if r.ap is not None), key=lambda r: r.ap or 0.0)
    worst, best = known[:ENDS], known[: -ENDS - 1 : -1]
    count = f"{len(rows):,}"
    return join(
        _spread(rows),
        tag(
            "div",
            tag("div", tag("h3", f"The {len(worst)} worst"), lines.short(worst, "Worst classes")),
            tag("div", tag("h3", f"The {len(best)} best"), lines.short(best, "Best classes")),
            class_="halves",
        ),
        more(f"All {count} classes", lines.table(rows, f"All {count} classes", long=True)),
    )


class _Lines:
    """Tables of classes with the columns that there are."""

    def __init__(self, main: str, rows: Rows, others: dict[str, dict[str, float | None]]) -> None:
        self.main, self.others = main, others
        self.support = any(r.support is not None for r in rows)
        self.fractions = [
            key for key in _FRACTIONS if any(getattr(r, key) is not None for r in rows)
        ]

    def table(self, rows: Rows, caption: str, long: bool) -> Html:
        heads = [head("Class", text=True)]
        heads += [head(abbr("support"))] if self.support else []
        for key in self.fractions:
            heads.append(head(abbr(key)))
            if key == "ap":
                heads += [head(["AP ", named(n)]) for n in self.others]
        body = [self._row(r) for r in rows]
        return table(
            heads, [body], caption, sortable=True, filter_="Find a class" if long else None
        )

    def short(self, rows: Rows, caption: str) -> Html:
        heads = columns("Class", abbr("support"), abbr("ap"))
        body = [row(_name(r), self._support(r), _share(r.ap)) for r in rows]
        return table(heads, [body], caption)

    def _support(self, line: ClassRow) -> str:
        return formatting.count(line.support)

    def _row(self, line: ClassRow) -> Html:
        cells: list[Html | str] = [self._support(line)] if self.support else []
        for key in self.fractions:
            cells.append(_share(getattr(line, key)))
            if key == "ap":
                name = line.class_
                cells += [formatting.percent(found.get(name)) for found in self.others.values()]
        return row(_name(line), *cells)


def _name(line: ClassRow) -> Html:
    return named(line.class_)


def _share(value: float | None) -> Html:
    return bar(value, formatting.percent(value))


def _spread(rows: Rows) -> Html | None:
    """A histogram of the APs over the classes."""
    known = [r.ap for r in rows if r.ap is not None]
    if len(known) < 5:
        return None
    bins = [0] * 10
    for value in known:
        bins[min(max(math.floor(10 * value), 0), 9)] += 1
    shares = [100 * n / len(known) for n in bins]
    edges = [f"{10 * i}–{10 * i + 10}" for i in range(10)]
    mean, middle = statistics.fmean(known), statistics.median(known)
    label = "Share of the classes by average precision: " + ", ".join(
        f"{10 * i} to {10 * i + 10}: {n}" for i, n in enumerate(bins)
    )
    chart = histogram(edges, shares, label, x_label="AP, percent")
    words = tag(
        "p",
        f"{metric('ap').title} is ",
        tag("b", formatting.percent(mean)),
        f" in the mean of the {formatting.plural(len(known), 'class', 'classes')}, ",
        tag("b", formatting.percent(middle)),
        " in the median. ",
        f"{formatting.plural(sum(v < 0.25 for v in known), 'class', 'classes')} below 25, "
        f"{sum(v >= 0.75 for v in known):,} at 75 or above.",
    )
    return tag(
        "div", panel("Classes by AP", chart, "percent of the classes"), words, class_="beside"
    )
