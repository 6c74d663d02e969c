"""Charts with a row per method: each seed's value, and differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from ... import formatting
from .charts import Show, colour
from .html import Html
from .svg import GRID, INK, PAPER, SERIES, draw, tidy, write


@final
@dataclass(frozen=True)
class Row:
    """A named row of points; ``look`` None is grey, ``hollow`` marks a control."""

    name: str
    values: Sequence[float]
    look: int | None = 0
    hollow: bool = False


def dots(
    rows: Sequence[Row], label: str, *, show: Show, rule: tuple[float, str] | None = None
) -> Html:
    """Each seed's value as a dot and the mean of several as a bar, row by row with the name above."""
    known = [v for row in rows for v in row.values] + ([rule[0]] if rule else [])
    low, high = min(known), max(known)
    pad = (high - low) * 0.06 or max(abs(high) * 0.05, 1e-9)

    def paint(axes: Any) -> None:
        for y, row in enumerate(rows):
            ink = colour(row.look)
            mean = sum(row.values) / len(row.values)
            axes.plot([low - pad, high + pad], [y, y], color=GRID, lw=1, zorder=1)
            face, edge = (PAPER, ink) if row.hollow else (ink, PAPER)
            spots = [y] * len(row.values)
            axes.scatter(row.values, spots, s=30, lw=1.3, facecolor=face, edgecolor=edge, zorder=3)
            if len(row.values) > 1:
                axes.plot([mean, mean], [y - 0.2, y + 0.2], color=ink, lw=2.4, zorder=4)
            write(axes, tidy(row.name, 36), (0, y), (0, 8))
            write(axes, show(mean), (1, y), (4, -3.5))
        _rows_axis(axes, len(rows), low - pad, high + pad)
        if rule is not None:
            axes.axvline(rule[0], color=INK, lw=1.1, dashes=(2, 2), zorder=2)

    return draw(paint, label, height=_rows_height(len(rows)), margins=(4, 44, 24, 6))


def forest(rows: Sequence[tuple[str, float, float, float]], label: str, *, show: Show) -> Html:
    """Differences with their intervals; those that leave zero out are filled."""
    ends = [end for _, _, low, high in rows for end in (low, high)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    pad = (high - low) * 0.05 or 1e-9

    def paint(axes: Any) -> None:
        axes.axvline(0, color=INK, lw=1.1)
        for y, (name, mean, start, end) in enumerate(rows):
            clear = start > 0 or end < 0
            ink = SERIES[0] if mean >= 0 else SERIES[1]
            axes.plot([start, end], [y, y], color=ink, lw=2.2 if clear else 1.3)
            face = ink if clear else PAPER
            axes.scatter([mean], [y], s=40, lw=1.4, facecolor=face, edgecolor=ink, zorder=3)
            write(axes, tidy(name, 40), (0, y), (0, 8))
            write(axes, show(mean), (1, y), (4, -3.5))
        _rows_axis(axes, len(rows), low - pad, high + pad)

    return draw(paint, label, height=_rows_height(len(rows)), margins=(4, 44, 24, 6))


def _rows_height(n: int) -> int:
    return 36 + 38 * n


def _rows_axis(axes: Any, n: int, low: float, high: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.grid(visible=False, axis="y")
    axes.set_xlim(low, high)
    axes.set_ylim(n - 0.55, -0.75)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda v, _: formatting.general(v).replace("-", "−"))
    )
    axes.spines["bottom"].set_visible(False)
