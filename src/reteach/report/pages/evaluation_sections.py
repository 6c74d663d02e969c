"""The sections of a run's report that are made from ``evaluation.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...metrics.registry import (
    GROUPS,
    GROUPS_OF_SETS,
    GROUPS_OF_SINGLE,
    by_sets,
    by_single,
    counted,
    metric,
)
from ...records.runs import Number, PredictorEvaluation
from ..glossary import abbr, glossary
from ..kit.blocks import columns, group, named, panel, row, table
from ..kit.charts import histogram, reliability
from ..kit.html import Html, join, tag
from ..kit.line_styles import Looks
from ..kit.page import Section, panels_section
from .classes import per_class
from .confusion import matrix, single_classes
from .examples import gallery, merged, single_truth

Evaluated = Mapping[str, PredictorEvaluation]
"""Predictor -> what was found of it on a data set."""
Metrics = Mapping[str, Mapping[str, Number]]
"""Predictor -> its metrics."""
BARS = 24
_FIRST = "labels_per_image@top1"


def results(judged: Mapping[str, Evaluated]) -> Section | None:
    """Every metric of every predictor, a table per data set."""
    tables = []
    for data, found in judged.items():
        made = _metrics_table(data, {n: e.metrics for n, e in found.items()})
        if made is not None:
            tables.append(tag("h3", "On ", named(data)))
            tables.append(made)
    if not tables:
        return None
    lead = "Fractions in percent. Point at a name, or see the glossary, for what it means."
    return Section("results", "Results", lead, tables)


def _metrics_table(data: str, numbers: Metrics) -> Html | None:
    names = list(dict.fromkeys(n for found in numbers.values() for n in found))
    twins = [n for n in names if n.startswith("labels_per_image@") and n != _FIRST]
    if "labels_per_image" in names:  # the same number under two names
        names = [n for n in names if n not in twins]
    order = _groups(numbers)
    groups = [(title, [n for n in names if metric(n).group == title]) for title in order]
    groups = [(title, mine) for title, mine in groups if mine]
    if not groups:
        return None
    images = next((f", {words}" for found in numbers.values() if (words := counted(found))), "")
    heads = columns("Metric", *map(named, numbers))
    halves = []
    for half in _halved(groups):
        bodies = [
            [group(title, len(heads)), *(_metric(n, numbers) for n in mine)] for title, mine in half
        ]
        what = ", ".join(title for title, _ in half)
        halves.append(table(heads, bodies, f"Results on {data}{images}: {what}"))
    return tag("div", halves, class_="halves" if len(halves) > 1 else None)


def _groups(numbers: Metrics) -> tuple[str, ...]:
    """The groups of metrics that say something of these images, the most important first."""
    if by_sets(numbers.values()):
        return GROUPS_OF_SETS
    return GROUPS_OF_SINGLE if by_single(numbers.values()) else GROUPS


def _single(found: Evaluated) -> bool:
    return by_single(entry.metrics for entry in found.values())


def _halved(groups: list[tuple[str, list[str]]]) -> list[list[tuple[str, list[str]]]]:
    """Two columns of about the same length, in order; one if there is little."""
    lengths = [len(mine) + 2 for _, mine in groups]
    if sum(lengths) < 12 or len(groups) < 2:
        return [groups]
    cut = min(range(1, len(groups)), key=lambda i: abs(sum(lengths[:i]) - sum(lengths[i:])))
    return [groups[:cut], groups[cut:]]


def _metric(name: str, numbers: Metrics) -> Html:
    words = metric(name)
    values = [found.get(name) for found in numbers.values()]
    known = [v for v in values if v is not None]
    best = max(known, key=lambda v: words.better * v) if words.better and len(known) > 1 else None
    cells = [
        tag("b", words.show(v)) if v is not None and v == best else words.show(v) for v in values
    ]
    return row(abbr(name), *cells)


def coverage(found: Evaluated, looks: Looks) -> Section | None:
    """Predicted labels per image against the true ones; None where images have one label each."""
    if _single(found):
        return None
    charts = []
    for name, entry in found.items():
        predicted = _counts(entry.labels_histogram.predicted)
        true = _counts(entry.labels_histogram.true)
        if sum(predicted) <= 0:
            continue
        edges, (bars, outline) = _binned(predicted, true)
        label = f"Labels per image predicted by {name}, mean {_mean(predicted):.2f}" + (
            f", against the truth, mean {_mean(true):.2f}" if sum(true) else ""
        )
        chart = histogram(
            edges,
            bars,
            label,
            outline=outline if sum(true) else None,
            look=looks(name),
            x_label="labels per image",
        )
        means = f"mean {_mean(predicted):.2f}"
        means += f", truly {_mean(true):.2f}" if sum(true) else ""
        charts.append(panel(named(name), chart, means))
    lead = (
        "How many labels an image gets (bars) and how many it truly has (outline), as shares of the "
        "images. A model that learned from single labels tends to give too few."
    )
    return panels_section("coverage", "Label coverage", lead, charts)


def calibration(found: Evaluated, looks: Looks) -> Section | None:
    """Reliability diagrams."""
    charts = []
    for name, entry in found.items():
        bins = entry.reliability
        points = [
            (x, y, n)
            for x, y, n in zip(bins.confidence, bins.accuracy, bins.count, strict=False)
            if x is not None and y is not None and n
        ]
        if not points:
            continue
        total = sum(n for _, _, n in points)
        x, y, n = (list(column) for column in zip(*points, strict=True))
        error = sum(c * abs(a - b) for a, b, c in points) / total
        chart = reliability(
            x,
            y,
            [c / total for c in n],
            f"Reliability of {name}: scores are off by {100 * error:.1f} points on average",
            looks(name),
        )
        remark = f"off by {100 * error:.1f} points"
        charts.append(panel(named(name), chart, remark))
    lead = (
        "How often the first choice is right (up) against its score (right). On the dashed line a score "
        "is a probability; below it the model is too sure of itself. Larger dots stand for more images."
    )
    return panels_section("calibration", "Reliability", lead, charts)


def examples(found: Evaluated, data: str) -> Section | None:
    """Pictures with the given label, the predictors' sets and the truth."""
    pictures = merged({name: entry.examples for name, entry in found.items()})
    cards = gallery(pictures)
    if cards is None:
        return None
    lead = f"Images of {data} with the label they came with, what each model sees, and the truth."
    if single_truth(pictures):
        lead += " The truth has one label per image here, so an additional label may well be right."
    return Section("examples", "Examples", lead, cards)


def classes(found: Evaluated) -> Section | None:
    """Class by class, the first predictor's."""
    tables = {n: e.per_class for n, e in found.items() if e.per_class}
    if not tables:
        return None
    main, *others = tables
    if found[main].confusion:
        return single_classes(main, found[main])
    body = per_class(main, tables[main], {name: tables[name] for name in others[:3]})
    lead = join(
        "Of ", tag("b", main, class_="name"), ". Precision, recall and F1 at 0.5; in percent."
    )
    return Section("classes", "Per class", lead, body) if body is not None else None


def confusion(found: Evaluated) -> Section | None:
    """Which first choice images of which class get, the first predictor's; None of label sets."""
    if not found:
        return None
    main, entry = next(iter(found.items()))
    return matrix(main, [r.class_ for r in entry.per_class], entry.confusion)


def words(judged: Mapping[str, Evaluated]) -> Section | None:
    """The glossary of the metrics that occur."""
    names = [
        name
        for found in judged.values()
        for entry in found.values()
        for name in entry.metrics
        if metric(name).group in _groups({n: e.metrics for n, e in found.items()})
    ]
    return glossary(n for n in names if n == _FIRST or not n.startswith("labels_per_image@"))


def _counts(values: Sequence[Number]) -> list[float]:
    return [v or 0.0 for v in values]


def _mean(counts: list[float]) -> float:
    return sum(i * n for i, n in enumerate(counts)) / max(sum(counts), 1e-9)


def _binned(*histograms: list[float]) -> tuple[list[str], list[list[float]]]:
    """Shares in percent over common bins, at most :data:`BARS`, and what the bins are called."""
    last = max((i for h in histograms for i, n in enumerate(h) if n > 0), default=0)
    width = math.ceil((last + 1) / BARS)
    bins = math.ceil((last + 1) / width)
    starts = [i * width for i in range(bins)]
    edges = [str(s) if width == 1 else f"{s}–{s + width - 1}" for s in starts]
    shares = [[100 * sum(h[s : s + width]) / max(sum(h), 1e-9) for s in starts] for h in histograms]
    return edges, shares
