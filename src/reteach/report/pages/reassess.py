"""The page of ``reteach evaluate --report``: models by original and by reassessed labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...analysis.mistakes import VERDICTS, Mistakes
from ...analysis.progress import Transfer
from ...analysis.quality import Share
from ...analysis.reassess import Reassessment
from ...formatting import count, percent, plural
from ..kit.blocks import big_numbers, columns, facts, head, named, row, table
from ..kit.html import Html, join, tag
from ..kit.page import Section, top, write_page
from .reassess_charts import (
    Published,
    chosen,
    later_predictions,
    oracle,
    progress,
    remaining,
    who_is_right,
)

CLASSES = 40
"""Rows of the table of ambiguous classes."""


def write_reassessment(
    path: Path,
    found: Reassessment,
    published: Published | None = None,
    further: Transfer | None = None,
    mistakes: Sequence[Mistakes] = (),
) -> None:
    """Write the page.

    Args:
        published: accuracies in percent of further models and their names, with ``further`` as
            their regression.
        mistakes: of the study of remaining mistakes.
    """
    title = f"{plural(len(found.models), 'model')} by original and reassessed labels"
    sections = [
        _models(found),
        progress(found, published, further),
        who_is_right(found),
        later_predictions(found),
        oracle(found),
        _ambiguous(found),
        _mistakes(found, mistakes),
    ]
    write_page(path, f"{title} — reteach", _header(title, found), sections)


def _header(title: str, found: Reassessment) -> Html:
    best = max(found.models, key=lambda model: model.reassessed.value)
    labels = found.labels_accuracy
    return top("evaluation", title,
        big_numbers(
            [
                ("Best model", percent(best.reassessed.value), "%",
                 named(best.name)),
                ("Original labels", percent(labels.value), "%",
                 f"{percent(labels.low)} to {percent(labels.high)} by the reassessed labels"),
            ]
        ),
        facts(
            [
                ("Images", count(found.images)),
                ("Without reassessed labels", count(found.unlabeled)),
                ("Classes", count(len(found.classes))),
                ("Ambiguous classes", count(len(found.ambiguous))),
            ]
        ),
    )  # fmt: skip


def _models(found: Reassessment) -> Section:
    places = len(found.models[0].kth)
    heads = columns(
        "model",
        "original, %",
        "reassessed, %",
        *[f"prediction {k + 1}, %" for k in range(1, places)],
        "right against the label, %",
        "images that decide",
    )
    rows = [
        row(
            named(model.name),
            _share(model.original),
            _share(model.reassessed),
            *[percent(float(v)) for v in model.kth[1:]],
            _share(Share(model.disagreement.share, *model.disagreement.interval)),
            count(model.disagreement.model + model.disagreement.label),
        )
        for model in reversed(found.models)
    ]
    return Section(
        "models",
        "Models",
        "Original: the first prediction is the original label. Reassessed: it is among the "
        "reassessed labels, images without any left out. Right against the label: of the images "
        "where the two disagree and the reassessed labels have just one of them, how often it is "
        "the model's. Ranges hold the true value with 95%.",
        table(heads, [rows], "Accuracy of the models", sortable=True),
    )


def _share(share: Share) -> Html:
    span = f" {percent(share.low)}–{percent(share.high)}"
    return tag("td", percent(share.value), tag("small", span), class_="n")


def _ambiguous(found: Reassessment) -> Section | None:
    if not found.ambiguous:
        return None
    models = chosen(found)
    heads = columns(
        "class",
        "images",
        "unbiased oracle, %",
        *[named(m.name) for m in models],
        head("often together with", text=True),
    )
    rows = [
        row(
            named(found.classes[a.index]),
            count(a.images),
            percent(a.oracle),
            *[percent(float(m.classes[a.index])) for m in models],
            tag("td", "; ".join(f"{found.classes[o.other]} ({o.share:.0%})" for o in a.others)),
        )
        for a in found.ambiguous[:CLASSES]
    ]
    shown = f"The {CLASSES} lowest of {len(found.ambiguous)}. " if len(rows) == CLASSES else ""
    return Section(
        "classes",
        "Ambiguous classes",
        f"{shown}Original accuracy on the images whose original label is right, and the classes "
        "most often present beside it.",
        table(heads, [rows], "Ambiguous classes", sortable=True, class_="words"),
    )


def _mistakes(found: Reassessment, mistakes: Sequence[Mistakes]) -> Section | None:
    if not mistakes:
        return None
    scored = {m.name for m in found.models}
    without = len({m.model for m in mistakes} - scored)
    aside = (
        f" {plural(without, 'model')} without a score table: not in the charts." if without else ""
    )
    judged = [f"{verdict}, %" for verdict in VERDICTS]
    heads = columns("model", head("mistake by", text=True), "images", *judged)
    rows = [
        row(
            named(m.model),
            tag("td", m.labels),
            count(m.images),
            *[_share(m.shares[verdict]) for verdict in VERDICTS],
        )
        for m in mistakes
    ]
    return Section(
        "mistakes",
        "The remaining mistakes",
        "What raters said of predictions that count as mistakes; the verdict of most raters on "
        f"each image.{aside}",
        join(
            remaining(found, mistakes),
            table(heads, [rows], "Kinds of mistakes", sortable=True),
        ),
    )
