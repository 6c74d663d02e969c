"""Swept settings: a curve over one, a heat map over two, a table over more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from ... import formatting
from ...metrics.registry import Metric, metric
from ...options.methods import method_title
from ..entries import Entry, most_seeds
from ..glossary import abbr
from ..kit.blocks import columns, panel, panels, row, table
from ..kit.charts import Line, legend, lines
from ..kit.html import Html, join, tag
from ..kit.line_styles import Looks
from ..kit.page import Section
from .config import text


def sweep(
    swept: dict[str, tuple[Any, ...]],
    found: Sequence[Entry],
    metrics: Sequence[str],
    looks: Looks,
) -> Section | None:
    """The section of the swept settings; None if nothing was swept."""
    swept = {name: values for name, values in swept.items() if values}
    if not swept:
        return None
    main = [e for e in found if e.main]
    names = " and ".join(swept) if len(swept) < 3 else ", ".join(swept)
    several = most_seeds(main) > 1
    words = "the band spans the seeds" if several else "one seed"
    means = "Means over the seeds" if several else "The values of the one seed"
    if len(swept) == 1:
        ((setting, values),) = swept.items()
        body = _curves(setting, values, main, metrics, looks)
        lead = f"Each method over {setting}; {words}."
    elif len(swept) == 2:
        body = _maps(swept, main, metrics)
        lead = f"{means} for each {names}; the stronger the colour, the higher."
    else:
        body = _settings_table(swept, main, metrics)
        lead = f"{means} for each combination."
    return Section("sweep", f"Sweep over {names}", lead, body)


def _curves(
    setting: str, values: Sequence[Any], main: list[Entry], metrics: Sequence[str], looks: Looks
) -> Html:
    numbers = [formatting.finite(v) for v in values]
    known = [n for n in numbers if n is not None]
    numeric = len(known) == len(values)
    x = known if numeric else [float(i) for i in range(len(values))]
    order = sorted(range(len(x)), key=x.__getitem__)
    methods = list(dict.fromkeys(e.method for e in main))
    charts = []
    for name in metrics:
        words = metric(name)
        drawn = []
        for method in methods:
            mine = [e for e in main if e.method == method]
            points = [_find(mine, {setting: values[i]}) for i in order]
            if any(e is not None for e in points):
                drawn.append(_line(method, points, [x[i] for i in order], words, looks))
            elif mine and mine[0].mean(name) is not None:  # a method without this setting: a level
                drawn.append(_line(method, [mine[0]] * len(x), sorted(x), words, looks))
        if drawn:
            charts.append(_panel(setting, words, drawn, [] if numeric else values, sorted(x)))
    keys = legend([(method_title(m), looks(m)) for m in methods])
    return join(keys, panels(charts))


def _line(
    method: str, points: Sequence[Entry | None], x: list[float], words: Metric, looks: Looks
) -> Line:
    rows = [[words.scale * v for v in e.values.get(words.name, [])] if e else [] for e in points]
    y = [sum(r) / len(r) if r else math.nan for r in rows]
    if max(map(len, rows), default=0) < 2:
        return Line(method_title(method), x, y, looks(method))
    low = [min(r) if r else math.nan for r in rows]
    high = [max(r) if r else math.nan for r in rows]
    return Line(method_title(method), x, y, looks(method), low, high)


def _panel(
    setting: str, words: Metric, drawn: list[Line], ticks: Sequence[Any], x: list[float]
) -> Html:
    label = f"{words.title} over {setting}. " + "; ".join(
        f"{line.name}: " + ", ".join(formatting.decimal(y, words.digits) for y in line.y)
        for line in drawn
    )
    chart = lines(
        drawn,
        label,
        show=partial(formatting.decimal, digits=words.digits),
        x_label=setting,
        ticks=[text(t) for t in ticks],
        log_x=not ticks and x[0] > 0 and x[-1] >= 10 * x[0],
    )
    return panel(words.title, chart, words.unit_words)


def _maps(swept: dict[str, tuple[Any, ...]], main: list[Entry], metrics: Sequence[str]) -> Html:
    (down, rows), (across, columns) = swept.items()
    maps = []
    for method in dict.fromkeys(e.method for e in main):
        mine = [e for e in main if e.method == method and {down, across} <= set(e.settings)]
        if not mine:
            continue
        grids = [_map(mine, (down, rows), (across, columns), metric(name)) for name in metrics]
        maps.append(tag("h3", method_title(method)))
        maps.append(panels(grid for grid in grids if grid is not None))
    return join(maps)


def _map(
    mine: list[Entry],
    down: tuple[str, Sequence[Any]],
    across: tuple[str, Sequence[Any]],
    words: Metric,
) -> Html | None:
    """A heat map as a table: its numbers can be read, copied and heard."""
    means = {
        (i, j): entry.mean(words.name)
        for i, a in enumerate(down[1])
        for j, b in enumerate(across[1])
        if (entry := _find(mine, {down[0]: a, across[0]: b})) is not None
    }
    known = [v for v in means.values() if v is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    best = max(known, key=lambda v: words.better * v) if words.better else None
    lines = []
    for i, a in enumerate(down[1]):
        cells = []
        for j in range(len(across[1])):
            value = means.get((i, j))
            share = 0.0 if value is None else (value - low) / (high - low or 1)
            shown = words.show(value)
            cells.append(
                tag(
                    "td",
                    tag("b", shown) if value is not None and value == best else shown,
                    style=f"--v:{share:.2f}",
                )
            )
        lines.append(tag("tr", tag("th", text(a), scope="row"), cells))
    corner = tag("th", f"{down[0]} ↓ {across[0]} →", scope="col")
    content = tag(
        "table",
        tag("caption", f"{words.title} by {down[0]} and {across[0]}", class_="hidden"),
        tag("thead", tag("tr", corner, [tag("th", text(b), scope="col") for b in across[1]])),
        tag("tbody", lines),
        class_="heat",
    )
    return panel(words.title, content, words.unit_words)


def _settings_table(
    swept: dict[str, tuple[Any, ...]], main: list[Entry], metrics: Sequence[str]
) -> Html:
    heads = columns("Method", *swept, *map(abbr, metrics))
    lines = [
        row(
            method_title(e.method),
            *(text(e.settings.get(name)) for name in swept),
            *(metric(m).show(e.mean(m)) for m in metrics),
        )
        for e in main
    ]
    return table(heads, [lines], "Means by setting", sortable=True)


def _find(mine: Sequence[Entry], wanted: dict[str, Any]) -> Entry | None:
    return next(
        (e for e in mine if all(e.settings.get(k, ...) == v for k, v in wanted.items())), None
    )
