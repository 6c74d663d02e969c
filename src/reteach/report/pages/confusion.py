"""Single labels class by class: the confusion matrix, and precision, recall and AP, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ... import formatting
from ...records.runs import ClassRow, PredictorEvaluation
from ..glossary import abbr
from ..kit.blocks import (
    bar,
    columns,
    head,
    more,
    named,
    panel,
    panels,
    row,
    scrolling,
    table,
)
from ..kit.charts import Line, lines
from ..kit.html import Html, join, tag
from ..kit.page import Section

MATRIX, PAIRS, WORST = 20, 20, 30
"""Classes of the matrix, pairs of classes and worst classes that are shown at once."""
Cells = Sequence[tuple[int, int, int]]
"""(class, first choice, images) by index."""


@final
@dataclass(frozen=True)
class _Class:
    """A class by the first choices: fractions in [0, 1]; None where nothing is there to count."""

    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None
    ap: float | None


def matrix(predictor: str, classes: Sequence[str], cells: Cells) -> Section | None:
    """The matrix (of many classes: of those with most errors), and the pairs confused most often."""
    if not cells:
        return None
    counts = {(true, choice): n for true, choice, n in cells}
    support, errors = ([0] * len(classes) for _ in range(2))
    for true, choice, n in cells:
        support[true] += n
        errors[true] += n * (true != choice)
    worst = sorted(range(len(classes)), key=lambda c: -errors[c])[:MATRIX]
    shown = sorted(c for c in worst if support[c]) if len(classes) > MATRIX else None
    lead = join(
        "Of ", named(predictor), ". Rows: the label; columns: the first choice; in percent of the row. "
        "On the diagonal the two are the same.",
        f" Of {len(classes):,} classes the {len(shown)} with most errors." if shown else None,
    )  # fmt: skip
    body = join(_grid(classes, counts, support, shown), _pairs(classes, counts, support))
    return Section("confusion", "Confusion matrix", lead, body)


def _grid(
    classes: Sequence[str],
    counts: dict[tuple[int, int], int],
    support: Sequence[int],
    shown: list[int] | None,
) -> Html:
    """A heat map as a table: its numbers can be read, copied and heard."""
    places = list(range(len(classes))) if shown is None else shown
    lines = []
    for true in places:
        total = support[true]
        mine = [counts.get((true, choice), 0) for choice in places]
        cells = [
            _cell(n / total if total else None, true == choice)
            for choice, n in zip(places, mine, strict=True)
        ]
        rest = [] if shown is None else [_cell((total - sum(mine)) / total, False)]
        name = tag("th", named(classes[true]), scope="row")
        lines.append(tag("tr", name, cells, rest, tag("td", formatting.count(total))))
    tops = [tag("th", named(classes[c]), scope="col") for c in places]
    tops += [] if shown is None else [tag("th", "another class", scope="col")]
    corner = tag("th", "label ↓ first choice →", scope="col")
    caption = "Share of each class's images by first choice, percent"
    content = tag(
        "table",
        tag("caption", caption, class_="hidden"),
        tag("thead", tag("tr", corner, tops, tag("th", "images", scope="col"))),
        tag("tbody", lines),
        class_="heat confusion",
    )
    return scrolling(content, caption)


def _cell(share: float | None, diagonal: bool) -> Html:
    text = "" if not share else formatting.percent(share, 0)
    shown = tag("b", text) if diagonal and text else text
    return tag("td", shown, style=f"--v:{share or 0:.2f}")


def _pairs(
    classes: Sequence[str],
    counts: dict[tuple[int, int], int],
    support: Sequence[int],
) -> Html | None:
    wrong = sorted((-n, t, c) for (t, c), n in counts.items() if t != c)
    if not wrong:
        return tag("p", "No image is confused with another class.")
    heads = columns("Label", head("First choice", text=True), "Images", "Of the class, %")
    rows = [
        row(
            named(classes[true]),
            tag("td", named(classes[choice])),
            formatting.count(-n),
            bar(-n / support[true], formatting.percent(-n / support[true])),
        )
        for n, true, choice in wrong[:PAIRS]
    ]
    listing = table(heads, [rows], "Pairs of classes that are confused", sortable=True)
    left = len(wrong) - len(rows)
    title = f"Confused most often ({left:,} more pairs are not listed)" if left > 0 else "Confused"
    return join(tag("h3", title), listing)


def single_classes(predictor: str, entry: PredictorEvaluation) -> Section:
    """Precision, recall, F1 of the first choice, and AP, of each class: the worst F1 first."""
    found = _classes(entry.per_class, entry.confusion)
    found.sort(key=lambda c: (c.f1 is None, c.f1 or 0.0, c.name))
    lead = join(
        "Of ", named(predictor), ". Precision, recall and F1 of the first choice; AP of the ranking by the "
        "class's score. In percent, the lowest F1 first.",
    )  # fmt: skip
    first = _table(found[:WORST], f"The {WORST} lowest" if len(found) > WORST else "All classes")
    first = join(first, _curves(entry))
    if len(found) <= WORST:
        return Section("classes", "Per class", lead, first)
    title = f"All {len(found):,} classes"
    everything = more(title, _table(found, title, filter_="Find a class"))
    return Section(
        "classes", "Per class", join(lead, f" The first {WORST}."), join(first, everything)
    )


def _curves(entry: PredictorEvaluation) -> Html | None:
    """Precision against recall of the classes of lowest AP, a chart for each."""
    if not entry.class_curves:
        return None
    ap = {each.class_: each.ap for each in entry.per_class}
    charts = []
    for one in entry.class_curves:
        x, y = ([100 * value for value in values] for values in (one.recall, one.precision))
        value = formatting.percent(ap.get(one.class_))
        label = f"Precision of {one.class_} against recall, AP {value}"
        chart = lines([Line(one.class_, x, y)], label, x_label="recall, percent", shares=True)
        charts.append(panel(named(one.class_), chart, f"AP {value}"))
    some = len(entry.class_curves) < len([1 for each in entry.per_class if each.ap is not None])
    words = (
        "Precision (up) against recall (right) in percent, as the threshold on the class's score goes "
        f"down{', of the classes of lowest AP' if some else ''}. Of the share of a class's images that you "
        "want to find, it says how many of those taken for it are."
    )
    return join(tag("h3", "Precision and recall"), tag("p", words), panels(charts))


def _classes(rows: Sequence[ClassRow], cells: Cells) -> list[_Class]:
    hits, true, predicted = ([0] * len(rows) for _ in range(3))
    for label, choice, n in cells:
        true[label] += n
        predicted[choice] += n
        hits[label] += n * (label == choice)
    return [
        _Class(
            each.class_,
            t,
            _ratio(h, p),
            _ratio(h, t),
            _ratio(2 * h, t + p) if t else None,
            each.ap,
        )
        for each, h, t, p in zip(rows, hits, true, predicted, strict=True)
    ]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _table(found: Sequence[_Class], caption: str, filter_: str | None = None) -> Html:
    heads = columns("Class", abbr("support"), "Precision", "Recall", "F1", abbr("ap"))
    rows = [
        row(
            named(c.name),
            formatting.count(c.images),
            *(bar(v, formatting.percent(v)) for v in (c.precision, c.recall, c.f1, c.ap)),
        )
        for c in found
    ]
    return table(heads, [rows], caption, sortable=True, filter_=filter_)
