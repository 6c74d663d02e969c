"""A chart of points and lines over two shares, such as precision over recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from .charts import colour
from .html import Html, tag
from .svg import GRID, INK, MUTED, PAPER, draw, tidy, write

Shape = Literal["line", "dot", "square", "cross", "ring"]
_MARKER = {"dot": "o", "square": "s", "cross": "X", "ring": "o"}


@final
@dataclass(frozen=True)
class Points:
    """Named points of one look; a *line* joins them in their order. All values are fractions.

    Without a name they are not in the legend."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    look: int | None = 0
    shape: Shape = "dot"
    size: float = 22


def plane(
    points: Sequence[Points],
    label: str,
    x_label: str,
    y_label: str,
    *,
    rule: tuple[float, str] | None = None,
    square: bool = False,
) -> Html:
    """Points over both axes in percent.

    Args:
        label: what the chart says, for those who cannot see it.
        rule: a dashed level and its name.
        square: both axes from 0 to 100%.
    """

    def paint(axes: Any) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes.grid(axis="x", color=GRID, linewidth=1)
        if rule is not None:
            axes.axhline(rule[0], color=INK, lw=1.1, dashes=(3, 3))
            write(axes, tidy(rule[1], 30), (0, rule[0]), (3, 3), ink=MUTED, size=9)
        for one in points:
            ink = colour(one.look)
            if one.shape == "line":
                axes.plot(one.x, one.y, color=ink, lw=2.2, zorder=3.5)
            else:
                ring = one.shape == "ring"
                face, edge = ("none", ink) if ring else (ink, PAPER if one.size > 12 else ink)
                marker = _MARKER[one.shape]
                axes.scatter(
                    one.x, one.y, s=one.size, marker=marker, lw=2 if ring else 0.8,
                    facecolor=face, edgecolor=edge, zorder=4 if ring else 3,
                )  # fmt: skip
        for line in [*axes.lines, *axes.collections]:  # marks at 0 and 100% are drawn whole
            line.set_clip_on(False)
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        axes.set_xlim(0 if square else max(left, 0), 1 if square else min(right, 1))
        axes.set_ylim(0 if square else max(bottom, 0), 1 if square else min(top, 1))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.4g}"))
        axes.set_xlabel(x_label, labelpad=3)
        axes.set_ylabel(y_label, labelpad=3)

    return draw(paint, label, width=440, height=330, margins=(12, 20, 38, 48))


def keys(points: Sequence[Points]) -> Html:
    """The legend of named points, each with a sample of its shape."""
    samples = [
        tag(
            "li",
            tag("svg", _sample(p), viewBox="0 0 26 10", width=26, height=10, aria_hidden="true"),
            tag("span", p.name, class_="name"),
        )
        for p in points
        if p.name
    ]
    return tag("ul", samples, class_="legend")


def _sample(p: Points) -> Html:
    ink = "var(--muted)" if p.look is None else f"var(--c{p.look % 8 + 1})"
    stroke, fill = f"stroke:{ink};stroke-width:2.4;fill:none", f"fill:{ink}"
    if p.shape == "line":
        return tag("line", x1=1, x2=25, y1=5, y2=5, style=stroke)
    if p.shape == "square":
        return tag("rect", x=9, y=1, width=8, height=8, style=fill)
    if p.shape == "cross":
        return tag("path", d="M9 1l8 8m0-8l-8 8", style=stroke)
    return tag("circle", cx=13, cy=5, r="3.6", style=stroke if p.shape == "ring" else fill)
