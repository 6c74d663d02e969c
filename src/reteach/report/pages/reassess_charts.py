"""The charts of the page of reassessed models: Figures 1 and 4 to 7 of ReaL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...analysis.mistakes import VERDICTS, Mistakes
from ...analysis.progress import FittedLine as Fit
from ...analysis.progress import Transfer
from ...analysis.reassess import ModelResult, Reassessment
from ...formatting import decimal
from ..kit.blocks import panel
from ..kit.charts import Line, legend, lines
from ..kit.html import Html, join, tag
from ..kit.page import Section
from ..kit.plane import Points, keys, plane

Published = tuple[NDArray[np.float64], NDArray[np.float64], list[str]]
COLUMNS = 4
"""Models whose classes are shown: the weakest and the strongest."""


def progress(
    found: Reassessment, published: Published | None, further: Transfer | None
) -> Section | None:
    """Reassessed over original accuracy, with a line for each half of the models (Figure 4)."""
    charts = []
    if len(found.models) > 1:
        x = [m.original.value for m in found.models]
        y = [m.reassessed.value for m in found.models]
        level = (found.labels_accuracy.value, "original labels")
        charts.append(_scatter("These models", x, y, found.progress, level))
    if published is not None:
        original, reassessed, names = published
        title = f"{len(names):,} published models"
        x, y = (original / 100).tolist(), (reassessed / 100).tolist()
        charts.append(_scatter(title, x, y, further, None, 100))
    if not charts:
        return None
    return Section(
        "progress",
        "Does progress carry over?",
        "Each half of the models, by original accuracy, has its own line. A later slope that is "
        "smaller says that progress on the original labels means less than it did.",
        side_by_side(charts),
    )


def side_by_side(charts: list[Html]) -> Html:
    """Charts in a row where there is room."""
    return tag("div", charts, class_="halves")


def _scatter(
    title: str,
    x: list[float],
    y: list[float],
    found: Transfer | None,
    rule: tuple[float, str] | None,
    unit: float = 1,
) -> Html:
    few = len(x) < 100
    points = [Points("models", x, y, 0 if few else None, size=26 if few else 8)]
    words = ""
    if found is not None:
        ends = [(min(x), found.cut / unit, found.earlier), (found.cut / unit, max(x), found.later)]
        for look, (start, end, line) in zip((1, 2), ends, strict=True):
            points.append(Points("", [start, end], _on(line, start, end, unit), look, "line"))
        words = (
            f"slope {decimal(found.earlier.slope)} ± {decimal(found.earlier.error)}, then "
            f"{decimal(found.later.slope)} ± {decimal(found.later.error)}; "
            f"Z {decimal(found.z, 1)}, p {'< 0.001' if found.p < 0.001 else decimal(found.p, 3)}"
        )
    chart = plane(
        points,
        f"Reassessed against original accuracy. {words}",
        "original accuracy, %",
        "reassessed accuracy, %",
        rule=rule,
    )
    return panel(title, chart, words)


def _on(line: Fit, start: float, end: float, unit: float) -> list[float]:
    """The line's values at both ends, as fractions."""
    return [(line.intercept + line.slope * v * unit) / unit for v in (start, end)]


def who_is_right(found: Reassessment) -> Section | None:
    """How often the model is right where it disagrees with the label (Figure 1)."""
    decided = [m for m in found.models if m.disagreement.model + m.disagreement.label]
    if not decided:
        return None
    chart = plane(
        [
            Points(
                "models",
                [m.original.value for m in decided],
                [m.disagreement.share for m in decided],
                0,
                size=30,
            )
        ],
        "Share of disagreements in which the model is right, against original accuracy",
        "original accuracy, %",
        "model is right, %",
        rule=(0.5, "as often as the label"),
    )
    return Section(
        "disagreement",
        "Who is right?",
        "Above the dashed line the reassessed labels side with the model more often than with the "
        "original label.",
        panel("Where model and label disagree", chart),
    )


def later_predictions(found: Reassessment) -> Section | None:
    """Second and third predictions over the first (Figure 5)."""
    places = len(found.models[0].kth)
    if places < 2:
        return None
    x = [model.reassessed.value for model in found.models]
    charts, points = [], []
    for title, values in (
        ("All images with labels", [m.kth for m in found.models]),
        ("Images with at least so many labels", [m.kth_possible for m in found.models]),
    ):
        points = [
            Points(f"prediction {k + 1}", x, [float(v[k]) for v in values], k, size=28)
            for k in range(1, places)
        ]
        label = f"Accuracy of later predictions against that of the first. {title}"
        charts.append(panel(title, plane(points, label, "prediction 1, %", "later prediction, %")))
    return Section(
        "later",
        "Second and later predictions",
        "Most images have one label only, so a later prediction can be right on few of them; the "
        "second chart leaves out the images where it cannot.",
        join(keys(points), side_by_side(charts)),
    )


def chosen(found: Reassessment) -> list[ModelResult]:
    """The weakest model and the strongest ones."""
    models = found.models
    return models if len(models) <= COLUMNS else [models[0], *models[1 - COLUMNS :]]


def oracle(found: Reassessment) -> Section | None:
    """Sorted accuracies of the ambiguous classes and the unbiased oracle's (Figure 6)."""
    index = [a.index for a in found.ambiguous]
    if len(index) < 2:
        return None
    order = [float(i) for i in range(len(index))]
    curves = [
        Line(m.name, order, sorted((100 * m.classes[index]).tolist()), look)
        for look, m in enumerate(chosen(found))
    ]
    ideal = Line("unbiased oracle", order, [100 * a.oracle for a in found.ambiguous], 6)
    chart = lines(
        [*curves, ideal],
        f"Class accuracies, each curve sorted, of {len(index)} ambiguous classes",
        x_label="classes, each curve sorted by itself",
        shares=True,
    )
    names = [(line.name, line.look) for line in [*curves, ideal]]
    return Section(
        "oracle",
        "Better than unbiased",
        f"In {len(index)} classes a model that picks one of the right labels at random stays below "
        "90% original accuracy. Models above its curve have learnt which of the right labels the "
        "original annotators would choose.",
        join(legend(names), panel("Accuracy in ambiguous classes", chart, "%")),
    )


def remaining(found: Reassessment, mistakes: Sequence[Mistakes]) -> Html | None:
    """Kinds of mistakes over the models' original accuracy, a chart for each kind (Figure 7)."""
    accuracy = {m.name: m.original.value for m in found.models}
    known = [m for m in mistakes if m.model in accuracy]
    if len({m.model for m in known}) < 2:
        return None
    sets = list(dict.fromkeys(m.labels for m in known))
    charts, points = [], []
    for verdict in VERDICTS:
        points = [
            Points(
                f"mistakes by the {labels} labels",
                [accuracy[m.model] for m in known if m.labels == labels],
                [m.shares[verdict].value for m in known if m.labels == labels],
                look,
                size=28,
            )
            for look, labels in enumerate(sets)
        ]
        label = f"Share of supposed mistakes that raters call {verdict}, over original accuracy"
        charts.append(panel(verdict, plane(points, label, "original accuracy, %", f"{verdict}, %")))
    return join(keys(points), side_by_side(charts))
