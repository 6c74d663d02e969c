"""The kinds of charts in the reports, each a small panel that fits a phone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

from ... import formatting
from .html import Html, tag
from .svg import INK, MUTED, PAPER, SERIES, draw, tidy, write

DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (2.5, 1.2), (8, 2, 2, 2))
Show = Callable[[float], str]


@final
@dataclass(frozen=True)
class Line:
    """A curve. NaN in ``y`` breaks it; ``look`` picks colour and dashes, the same for a name
    everywhere on a page; ``low`` and ``high`` are the edges of a band around it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    look: int = 0
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def colour(look: int | None) -> str:
    """The stand-in colour of a look."""
    return MUTED if look is None else SERIES[look % len(SERIES)]


def legend(names: Sequence[tuple[str, int]], dashed: bool = True) -> Html:
    """Line samples with their names, shared by a group of charts."""
    keys = []
    for name, look in names:
        dashes = " ".join(map(str, DASHES[look % len(DASHES)])) if dashed else ""
        line = tag(
            "line",
            x1=1,
            x2=25,
            y1=5,
            y2=5,
            stroke_dasharray=dashes or None,
            style=f"stroke:var(--c{look % len(SERIES) + 1})",
        )
        sample = tag("svg", line, viewBox="0 0 26 10", width=26, height=10, aria_hidden="true")
        keys.append(tag("li", sample, tag("span", name, class_="name")))
    return tag("ul", keys, class_="legend")


def lines(
    curves: Sequence[Line],
    label: str,
    *,
    show: Show = formatting.general,
    rule: tuple[float, str] | None = None,
    marks: Sequence[tuple[float, str]] = (),
    x_label: str = "step",
    ticks: Sequence[str] = (),
    log_x: bool = False,
    log_y: bool = False,
    shares: bool = False,
) -> Html:
    """Curves over steps or over a setting's values, each with its last value beside it.

    Args:
        show: how a last value is written.
        rule: a dashed level and its name.
        marks: where stages begin, and their names.
        ticks: words for x = 0, 1, 2 … where x is no number.
        shares: the values are percent of something: the axis ends at 0 and 100.
    """

    def paint(axes: Any) -> None:
        ends = []
        for curve in curves:
            ink, dashes = colour(curve.look), DASHES[curve.look % len(DASHES)]
            if curve.low is not None and curve.high is not None:
                axes.fill_between(curve.x, curve.low, curve.high, color=ink, alpha=0.16, lw=0)
            few = sum(map(math.isfinite, curve.y)) <= 8
            alone = _alone(curve.y)
            axes.plot(
                curve.x,
                curve.y,
                color=ink,
                lw=1.9,
                dashes=dashes or (None, None),
                dash_capstyle="butt",
                solid_capstyle="round",
                marker="o" if few or alone else None,
                markevery=None if few else alone,
                ms=3.6 if few else 2.2,
                mew=0,
            )
            known = [y for y in curve.y if math.isfinite(y)]
            if known:
                ends.append((known[-1], ink))
        if log_x:
            axes.set_xscale("log")
        if log_y:
            axes.set_yscale("log")
        _y_range(axes, curves, rule, log_y, shares)
        _x_axis(axes, curves, ticks, log_x, x_label)
        _y_axis(axes, formatting.general, log_y)
        if rule is not None:
            axes.axhline(rule[0], color=INK, lw=1.1, dashes=(2, 2))
            write(axes, rule[1], (0, rule[0]), (2, 3), size=10)
        for x, name in marks:
            axes.axvline(x, color=MUTED, lw=0.8)
            frame = ("data", "axes fraction")
            write(axes, tidy(name, 18), (x, 1), (3, -9), frame, ink=MUTED, size=10)
        if len(ends) <= 5:
            _ends(axes, ends, show)

    return draw(paint, label, margins=(8, 42, 36, 36))


def histogram(
    edges: Sequence[str],
    bars: Sequence[float],
    label: str,
    *,
    outline: Sequence[float] | None = None,
    look: int = 0,
    x_label: str = "",
) -> Html:
    """Filled bars in percent, and other shares as an outline over them."""

    def paint(axes: Any) -> None:
        x = list(range(len(bars)))
        axes.bar(x, bars, width=0.82, color=colour(look), lw=0)
        top = max([*bars, *(outline or []), 1e-9])
        if outline is not None:
            axes.stairs(
                outline, [i - 0.5 for i in range(len(outline) + 1)], color=INK, lw=1.6, baseline=0
            )
        axes.set_xlim(-0.6, len(bars) - 0.4)
        axes.set_ylim(0, 1.08 * top)
        every = -(-sum(map(len, edges)) // 34)
        axes.set_xticks(x[::every], [tidy(edge, 12) for edge in edges[::every]])
        axes.set_xlabel(tidy(x_label), labelpad=3)
        _y_axis(axes, lambda v: formatting.general(v) + "%", False)

    return draw(paint, label)


def reliability(
    confidence: Sequence[float],
    right: Sequence[float],
    share: Sequence[float],
    label: str,
    look: int,
    x_label: str = "score of the first choice",
) -> Html:
    """How often a score comes true, against the score; the size of a dot is its share of images."""

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=INK, lw=1.1, dashes=(2, 2))
        for x, y in zip(confidence, right, strict=True):
            axes.plot([x, x], [x, y], color=colour(look), lw=1.4, alpha=0.45)
        sizes = [16 + 90 * s / max(share) for s in share]
        axes.scatter(
            confidence, right, s=sizes, color=colour(look), edgecolor=PAPER, lw=1, zorder=3
        )
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.05)
        spots = [0, 0.25, 0.5, 0.75, 1]
        axes.set_xticks(spots, ["0", "0.25", "0.5", "0.75", "1"])
        axes.set_yticks(spots, ["0", "0.25", "0.5", "0.75", "1"])
        axes.set_xlabel(x_label, labelpad=3)

    return draw(paint, label, height=250)


def _alone(y: Sequence[float]) -> list[int]:
    """Points without a neighbour, which a line would not show."""
    here = [math.isfinite(v) for v in y]
    padded = [False, *here, False]
    return [i for i, ok in enumerate(here) if ok and not padded[i] and not padded[i + 2]]


def _y_range(
    axes: Any,
    curves: Sequence[Line],
    rule: tuple[float, str] | None,
    log: bool,
    shares: bool = False,
) -> None:
    known = [v for c in curves for part in (c.y, c.low or (), c.high or ()) for v in part]
    known = [v for v in known if math.isfinite(v)] + ([rule[0]] if rule else [])
    if not known or log:
        return
    low, high = min(known), max(known)
    pad = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    floor = 0.0 if low >= 0 and low - pad < 0.15 * high else low - pad
    top = high + pad
    axes.set_ylim(max(floor, 0.0) if shares else floor, min(top, 100.0) if shares else top)
    if shares:
        for line in axes.lines:  # half of a line at 100% lies above the axis
            line.set_clip_on(False)


def _x_axis(
    axes: Any, curves: Sequence[Line], ticks: Sequence[str], log: bool, x_label: str
) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    axes.set_xlabel(tidy(x_label), labelpad=3)
    if ticks:
        axes.set_xticks(range(len(ticks)), [tidy(t, 12) for t in ticks])
        axes.set_xlim(-0.2, len(ticks) - 0.8)
        return
    xs = sorted({x for curve in curves for x in curve.x})
    if log:
        axes.set_xticks(xs if len(xs) <= 6 else xs[:: -(-len(xs) // 6)])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="minor", length=0)
    else:
        whole = all(float(x).is_integer() for x in xs)  # there is no step 7.5
        steps = [1, 2, 5, 10] if whole else [1, 2, 2.5, 5, 10]
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=steps, integer=whole))
        if len(xs) > 1:
            axes.set_xlim(xs[0] - 0.01 * (xs[-1] - xs[0]), xs[-1] + 0.01 * (xs[-1] - xs[0]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: formatting.short(v)))


def _y_axis(axes: Any, show: Show, log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    if log:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0e}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="minor", length=0)
        return
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: show(v)))


def _ends(axes: Any, ends: list[tuple[float, str]], show: Show) -> None:
    """Last values at the right edge, moved apart where they would overlap."""
    spots = [axes.transData.transform((0, y))[1] for y, _ in ends]
    order = sorted(range(len(ends)), key=lambda i: spots[i])
    for below, above in pairwise(order):
        spots[above] = max(spots[above], spots[below] + 12)
    bottom = axes.bbox.y0
    for (y, ink), spot in zip(ends, spots, strict=True):
        write(axes, show(y), (1, 0), (5, spot - bottom - 3.5), "axes fraction", ink)
