"""The curves of a run out of its measurements: losses by phase, rates, evaluations by predictor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import final

from ... import formatting
from ...metrics.registry import IMAGES, metric, shown, view_of
from ...records.runs import Measurement
from ..kit.blocks import named, panel, panels
from ..kit.charts import Line, legend, lines
from ..kit.html import Html, join, tag
from ..kit.line_styles import Looks

BINS = 240
"""Points per curve at most; more could not be told apart on a page."""


@final
@dataclass
class LearningCurve:
    """Values over the steps of the whole run; the steps may repeat and values may be missing."""

    steps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, step: float, value: float) -> None:
        self.steps.append(step)
        self.values.append(value)


@final
class Timeline:
    """Stages one after the other: a stage's step 1 follows the last step of the stage before."""

    def __init__(self, records: Sequence[Measurement]) -> None:
        lengths: dict[str, float] = {}
        for record in records:
            lengths[record.stage] = max(lengths.get(record.stage, 0.0), record.step)
        self.starts: dict[str, float] = {}
        total = 0.0
        for stage, length in lengths.items():
            self.starts[stage] = total
            total += length
        self.total = total

    def at(self, record: Measurement) -> float:
        """The step of a record, counted from the beginning of the run."""
        return self.starts[record.stage] + record.step

    def marks(self) -> list[tuple[float, str]]:
        """Where stages begin, if there are several."""
        pairs = [(start, stage) for stage, start in self.starts.items()]
        return pairs if len(pairs) > 1 else []


def training(records: Sequence[Measurement], looks: Looks) -> Html | None:
    """Losses (a curve per phase), the rate, and whatever else was measured; None without records."""
    time = Timeline(records)
    losses: dict[str, LearningCurve] = {}
    others: dict[str, LearningCurve] = {}
    for record in records:
        if record.kind != "train":
            continue
        for name, value in _measured(record):
            what, group = _series(name, record)
            (losses if group else others).setdefault(what, LearningCurve()).add(
                time.at(record), value
            )
    if not losses and not others:
        return None
    charts = []
    if losses:
        charts.append(_panel("Loss", losses, time, looks))
    for name, curve in list(others.items())[:8]:
        charts.append(_panel(metric(name).title, {name: curve}, time, Looks([name])))
    keys = legend(looks.of(losses)) if len(losses) > 1 else None
    return join(keys, panels(charts))


def evaluations(
    records: Sequence[Measurement], looks: Looks, true_labels: float | None
) -> Html | None:
    """A chart per metric with a curve per predictor, for each judged data set; None without any."""
    time = Timeline(records)
    judged = [r for r in records if r.kind == "eval"]
    sets = list(dict.fromkeys(r.data for r in judged))
    parts = []
    for data in sets:
        mine = [r for r in judged if r.data == data]
        numbers = [r.values for r in mine]
        predictors = list(dict.fromkeys(map(_predictor, mine)))
        charts = []
        single = all(n.get("real_accuracy") in (None, n.get("accuracy")) for n in numbers)
        for name in shown(view_of("curves", numbers)):
            if name == "real_accuracy" and single:  # then it is the accuracy
                continue
            curves = {p: _metric_curve(mine, p, name, time) for p in predictors}
            curves = {p: c for p, c in curves.items() if any(map(math.isfinite, c.values))}
            if curves:
                level = _true_labels(mine, true_labels) if name == "labels_per_image" else None
                charts.append(_judged_panel(name, data, curves, time, looks, level))
        if charts:
            title = tag("h3", "On ", named(data)) if len(sets) > 1 else None
            parts.append(join(title, legend(looks.of(predictors)), panels(charts)))
    return join(parts) if parts else None


def _predictor(record: Measurement) -> str:
    return record.predictor or "model"


def _series(name: str, record: Measurement) -> tuple[str, bool]:
    """What a measurement is called in a chart, and whether it is a loss."""
    if name == "loss":
        return record.phase or "loss", True
    if name.endswith("_loss"):
        return name.removesuffix("_loss"), True
    return name, name == "cross_entropy"


def _measured(record: Measurement) -> Iterator[tuple[str, float]]:
    for name, value in record.values.items():
        if value is not None and name != "at" and metric(name).group != IMAGES:
            yield name, value


def _metric_curve(
    records: Sequence[Measurement], predictor: str, name: str, time: Timeline
) -> LearningCurve:
    curve = LearningCurve()
    scale = metric(name).scale
    for record in records:
        if _predictor(record) == predictor:
            value = record.values.get(name)
            curve.add(time.at(record), math.nan if value is None else scale * value)
    return curve


def _true_labels(records: Sequence[Measurement], known: float | None) -> float | None:
    found = [r.values.get("true_labels_per_image") for r in records]
    return next((value for value in reversed(found) if value is not None), known)


def _judged_panel(
    name: str,
    data: str,
    curves: dict[str, LearningCurve],
    time: Timeline,
    looks: Looks,
    level: float | None,
) -> Html:
    words = metric(name)
    rule = None if level is None else (level, f"true number {formatting.decimal(level)}")
    chart = lines(
        [_thin(p, c, time.total, looks(p)) for p, c in curves.items()],
        f"{words.title} on {data} over the steps. " + _ends(curves, words.digits),
        show=partial(formatting.decimal, digits=words.digits),
        rule=rule,
        marks=time.marks(),
        shares=words.unit == "percent",
    )
    return panel(words.title, chart, words.unit_words)


def _panel(title: str, curves: dict[str, LearningCurve], time: Timeline, looks: Looks) -> Html:
    values = [v for c in curves.values() for v in c.values]
    log = min(values) > 0 and max(values) > 100 * min(values)
    chart = lines(
        [_thin(name, c, time.total, looks(name)) for name, c in curves.items()],
        f"{title} over the steps. " + _ends(curves, 4),
        marks=time.marks(),
        show=lambda v: f"{v:.3g}",
        log_y=log,
    )
    return panel(title, chart, "log scale" if log else "")


def _ends(curves: dict[str, LearningCurve], digits: int) -> str:
    parts = []
    for name, curve in curves.items():
        known = [v for v in curve.values if math.isfinite(v)]
        if known:
            parts.append(
                f"{name}: {formatting.decimal(known[0], digits)} at first, "
                f"{formatting.decimal(known[-1], digits)} at last"
            )
    return "; ".join(parts)


def _thin(name: str, curve: LearningCurve, total: float, look: int) -> Line:
    """A curve as means over at most :data:`BINS` stretches of steps."""
    width = max(total / BINS, 1e-9)
    bins: dict[int, list[tuple[float, float]]] = {}
    for step, value in zip(curve.steps, curve.values, strict=True):
        bins.setdefault(math.ceil(step / width), []).append((step, value))
    points = [
        (sum(s for s, _ in b) / len(b), sum(v for _, v in b) / len(b))
        for _, b in sorted(bins.items())
    ]
    return Line(name, [x for x, _ in points], [y for _, y in points], look)
