"""The page of ``reteach relabel consensus``: labels, raters, and what was left without a label."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import numpy as np

from ...analysis.curves import curve
from ...analysis.outcome import Outcome
from ...analysis.quality import RaterQuality, Share
from ...formatting import count, decimal, general, percent, plural
from ..kit.blocks import (
    big_numbers,
    columns,
    described,
    facts,
    more,
    named,
    panel,
    panels,
    row,
    table,
)
from ..kit.charts import Line, histogram, lines
from ..kit.html import Child, Html, join, tag
from ..kit.page import Section, top, write_page
from ..kit.plane import Points, keys, plane
from .agreement import agreement_section
from .label_changes import Picture, change_sections

SHOWN = 300
"""Items without labels on the page; all are in the file beside the labels."""

_METHODS = {
    "golden": "The raters' error rates were counted on golden pairs, whose answer is known; one step "
    "of Dawid & Skene then gives the probability of every pair.",
    "em": "Error rates and truth were found together by EM after Dawid & Skene, without gold.",
    "mace": "MACE: each rater knows the answer, or spams; how often each knows was found together with "
    "the truth.",
    "glad": "GLAD: the abler the rater and the easier the pair, the likelier an answer is right; both were "
    "found together with the truth.",
    "crowdlab": "CROWDLAB: a model's probability and the raters' answers, weighted by how well each agrees "
    "with the others.",
    "majority": "The share of yes among the answers, a maybe counting half.",
}


_QUALITY = {"mace": "competence", "glad": "ability", "crowdlab": "weight"}
"""What a method calls what it found of a rater."""


def write_consensus(
    path: Path, outcome: Outcome, picture: Picture | None = None, most: int = 0
) -> None:
    """Write the page.

    Args:
        picture: of an item; None: there are no pictures.
        most: items with a picture in each section.
    """
    ratings = outcome.sources.ratings
    title = f"Consensus of {plural(len(ratings.raters), 'rater')}"
    sections = [
        _gold(outcome),
        *change_sections(outcome, picture, most),
        agreement_section(outcome.agreement, _asked_on(outcome)),
        _raters(outcome),
        _convergence(outcome),
        _per_item(outcome),
        _unlabeled(outcome),
    ]
    write_page(path, f"{title} — reteach", _header(title, outcome), sections)


def _header(title: str, outcome: Outcome) -> Html:
    ratings, labels, at = outcome.sources.ratings, outcome.labels, outcome.point
    numbers: list[tuple[Child, str, str, Child]] = [
        ("Labels", count(len(labels.columns)), "", f"on {count(len(labels))} items"),
        ("Items without labels", count(len(outcome.unlabeled)), "", "listed below"),
    ]
    if outcome.emptied_by_gold:
        remark = "known to hold none of the classes"
        numbers.append(("Empty by gold", count(outcome.emptied_by_gold), "", remark))
    if outcome.pending:
        numbers.append(("Items lacking answers", count(len(outcome.pending)), "", "not decided"))
    if at is not None:
        for name, value, (low, high) in (
            ("Precision", at.precision, at.precision_interval),
            ("Recall", at.recall, at.recall_interval),
        ):
            if isnan(value):
                numbers.append((f"{name} on gold", "unknown", "", "no golden pair passes"))
                continue
            remark = f"{percent(low)} to {percent(high)} (95%, by image)"
            numbers.append((f"{name} on gold", percent(value), "%", remark))
    return top(
        "consensus",
        title,
        described(_METHODS[outcome.found.method]),
        big_numbers(numbers),
        facts(
            [
                ("Answers", count(len(ratings.answer))),
                ("Pairs asked", count(len(ratings.pair_item))),
                ("Items rated", count(len(np.unique(ratings.pair_item)))),
                ("Golden pairs", count(int(ratings.golden.sum()))),
                ("Kept from probability", general(outcome.threshold)),
            ]
        ),
    )


def _gold(outcome: Outcome) -> Section | None:
    golden, at = outcome.sources.ratings.golden, outcome.point
    if at is None:
        return None
    assert outcome.golden_score is not None
    truth = np.tile(outcome.sources.truth()[golden], len(outcome.golden_score))
    found = curve(outcome.golden_score.ravel(), truth)
    quality, _ = outcome.quality()
    raters = [q for q in quality if q.precision.value == q.precision.value]
    experts, original = outcome.experts(), outcome.original()
    points = [
        Points("consensus", found.recall.tolist(), found.precision.tolist(), 2, "line"),
        Points("raters", [q.recall.value for q in raters], [q.precision.value for q in raters], 0),
    ]
    if experts:
        x, y = [e.recall for e in experts], [e.precision for e in experts]
        points.append(Points("experts", x, y, 1, "square", 44))
    if original is not None:
        x, y = [original.recall], [original.precision]
        points.append(Points("original labels", x, y, 7, "cross", 70))
    if isnan(at.precision):
        reached = "no golden pair passes"
    else:
        points.append(Points("labels", [at.recall], [at.precision], 2, "ring", 130))
        reached = f"the labels have {percent(at.precision)}% at {percent(at.recall)}%"
    chart = plane(
        points,
        f"Precision against recall on golden pairs: {reached}",
        "recall, %",
        "precision, %",
        square=True,
    )
    return Section(
        "gold",
        "Against the gold",
        "Each dot is a rater, the line is what the consensus can reach at any threshold, the ring "
        "what it was cut at. Each golden pair is scored with as many votes as other pairs have, and by "
        "error rates counted on other images, so that the same holds for the rest.",
        join(keys(points), panel("Precision against recall", chart)),
    )


def _raters(outcome: Outcome) -> Section:
    quality, by_gold = outcome.quality()
    found, own = outcome.found.rater_quality, _QUALITY.get(outcome.found.method)
    of = {} if found is None else dict(zip(outcome.found.raters, found.tolist(), strict=True))
    heads = columns(
        "rater",
        "answers judged",
        "maybe, %",
        "precision, %",
        "recall, %",
        "specificity, %",
        *([own] if own else []),
    )
    rows = [
        _rater(q, [decimal(of[q.name])] if own else [])
        for q in sorted(quality, key=_f1, reverse=True)
    ]
    against = "the golden pairs" if by_gold else "the consensus itself, for want of golden pairs"
    return Section(
        "raters",
        "Raters",
        f"Judged by {against}. Precision: of what they said yes to, how much is there; recall: of "
        "what is there, how much they said yes to; specificity: of what is not there, how much "
        f"they said no to. Ranges hold the true value with 95%.{_model_weight(outcome)}",
        table(heads, [rows], "Raters and their quality", sortable=True, filter_="Find a rater"),
    )


def _asked_on(outcome: Outcome) -> str:
    if outcome.sources.agree is None:
        return ""
    return (
        f"Questions were asked on only where the first {outcome.sources.agree} answers left them open, so "
        f"disputed "
        "ones have more answers and weigh more here: all numbers are lower than those of as many answers "
        "to each."
    )


def _model_weight(outcome: Outcome) -> str:
    weight = outcome.found.model_weight
    return "" if weight is None else f" The model's own weight is {decimal(weight)}."


def _f1(q: RaterQuality) -> float:
    """Harmonic mean of precision and recall; 0 where one of them is unknown."""
    p, r = q.precision.value, q.recall.value
    return 2 * p * r / (p + r) if p > 0 and r > 0 else 0.0


def _rater(q: RaterQuality, more: list[str]) -> Html:
    shares = [_share(s) for s in (q.precision, q.recall, q.specificity)]
    return row(q.name, count(q.answers), percent(q.maybe), *shares, *more)


def _share(share: Share) -> Html:
    known = share.value == share.value
    span = f" {percent(share.low, 0)}–{percent(share.high, 0)}" if known else ""
    return tag("td", percent(share.value), tag("small", span), class_="n")


def _convergence(outcome: Outcome) -> Section | None:
    trace = outcome.found.log_likelihood
    if len(trace) < 2:
        return None
    steps = [float(i + 1) for i in range(len(trace))]
    chart = lines(
        [Line("log-likelihood", steps, list(trace))],
        f"Log-likelihood rises to {trace[-1]:.1f} in {len(trace)} iterations",
        x_label="iteration",
    )
    lead = f"The log-likelihood of the answers over {len(trace)} iterations of EM."
    return Section("em", "Convergence", lead, panels([panel("Log-likelihood", chart)]))


def _per_item(outcome: Outcome) -> Section:
    sizes = np.bincount(np.minimum(np.diff(outcome.labels.starts), 6), minlength=7)
    shares = (100 * sizes / max(len(outcome.labels), 1)).tolist()
    edges = [*map(str, range(6)), "6+"]
    label = ", ".join(f"{e}: {general(s)}%" for e, s in zip(edges, shares, strict=True))
    chart = histogram(edges, shares, f"Labels per item: {label}", x_label="labels")
    body = panels([panel("Labels per item", chart, "share of all items")])
    return Section(
        "sizes",
        "How many labels",
        "Items that were not rated, or still lack answers, have their original one.",
        body,
    )


def _unlabeled(outcome: Outcome) -> Section | None:
    items = outcome.unlabeled
    if not items:
        return None
    shown = tag("ul", [tag("li", named(item)) for item in items[:SHOWN]])
    rest = len(items) - SHOWN
    return Section(
        "unlabeled",
        "Left without labels",
        f"None of the asked classes reached the threshold on {plural(len(items), 'item')}. They have rows "
        "with empty labels in the table; metrics leave them out.",
        more(
            f"Show {min(len(items), SHOWN)} of them",
            shown,
            tag("p", f"and {rest:,} more, in the file beside the labels", class_="note")
            if rest > 0
            else None,
        ),
    )
