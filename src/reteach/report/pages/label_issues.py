"""The page of ``reteach relabel clean``: what was dropped, what is known of the noise, the suspects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from ... import formatting
from ...formatting import count, percent, plural
from ...relabel.noise.balance import Balance
from ...relabel.noise.clean import Detection
from ..kit.blocks import (
    bar,
    big_numbers,
    card,
    cards,
    columns,
    facts,
    head,
    named,
    photo,
    row,
    table,
    terms,
    warnings,
)
from ..kit.html import Child, Html, join, tag
from ..kit.page import Section, top, write_page

SHOWN = 24
"""Pictures at once; the others open on request."""
PAIRS = 30


@final
@dataclass(frozen=True)
class RuleOutcome:
    """What a rule does: the share it drops beside the noise, and how right it is if truth is known."""

    rule: str
    chosen: bool
    balance: Balance
    detection: Detection | None


@final
@dataclass(frozen=True)
class Suspect:
    """A dropped label: the image (a data URL; None of features), the given class and the model's choices."""

    item: str
    image: str | None
    given: tuple[str, float]
    choices: Sequence[tuple[str, float]]
    truth: str | None


@final
@dataclass(frozen=True, eq=False)
class Cleaning:
    """Everything on the page.

    Args:
        n: labels judged.
        dropped: (C, C) number of dropped labels by given class (row) and the model's first choice.
        counts: (C,) labels per class.
        suspects: the most doubtful first; of the dropped labels perhaps not all.
        about: short facts: method, folds, …
    """

    n: int
    rules: Sequence[RuleOutcome]
    classes: Sequence[str]
    counts: NDArray[np.int64]
    dropped: NDArray[np.int64]
    suspects: Sequence[Suspect]
    about: Sequence[tuple[str, str]]

    @property
    def chosen(self) -> RuleOutcome:
        """The rule that was applied."""
        return next(outcome for outcome in self.rules if outcome.chosen)


def write_suspects(path: Path, cleaning: Cleaning) -> None:
    """Write the page."""
    title = f"{plural(int(cleaning.dropped.sum()), 'doubtful label')} of {count(cleaning.n)}"
    sections = [_rules(cleaning), _suspects(cleaning), _pairs(cleaning), _classes(cleaning)]
    write_page(path, f"{title} — reteach", _header(title, cleaning), sections)


def _header(title: str, cleaning: Cleaning) -> Html:
    at = cleaning.chosen.balance
    numbers: list[tuple[Child, str, str, Child]] = [
        ("Dropped", percent(at.removed), "%", f"rule: {cleaning.chosen.rule}"),
        (
            "Wrong, estimated",
            percent(at.noise),
            "%",
            "of the labels; a weak model makes it too large",
        ),
        ("Confirmed", percent(at.confirmed), "%", "labels that are the model's first choice"),
    ]
    return top(
        "clean",
        title,
        tag(
            "p",
            "Every label was judged by a model that had not seen its image. A doubtful label is wrong, "
            "or the image is hard, or the model is weak: look at the pictures before believing it.",
            class_="description",
        ),
        warnings([at.warning] if at.warning else []),
        big_numbers(numbers),
        facts(cleaning.about),
    )


def _rules(cleaning: Cleaning) -> Section:
    known = any(outcome.detection for outcome in cleaning.rules)
    right = ("precision, %", "recall, %", "F1, %") if known else ()
    heads = columns("rule", "dropped, %", *right)
    rows = [
        row(
            join(named(outcome.rule), tag("b", " ← applied") if outcome.chosen else None),
            percent(outcome.balance.removed),
            *_judged(outcome.detection) if known else (),
            class_="applied" if outcome.chosen else None,
        )
        for outcome in cleaning.rules
    ]
    lead = "The rule that was applied is marked. agreement: the label is the model's first choice. "
    lead += "per-class: no other class scores as much as it usually does on its own images. "
    lead += "confidence: all but the lowest scores, as many as are estimated to be wrong. "
    lead += "ratio: all but those that another class beats by the largest factor. "
    lead += "posterior: all but those that are more likely wrong than right."
    if known:
        lead += " Precision: of the dropped labels, how many are wrong; recall: of the wrong ones, "
        lead += "how many are dropped."
    return Section("rules", "Rules", lead, table(heads, [rows], "Rules and what they drop"))


def _judged(found: Detection | None) -> tuple[str, str, str]:
    if found is None:
        return (formatting.DASH,) * 3
    return percent(found.precision), percent(found.recall), percent(found.f1)


def _suspects(cleaning: Cleaning) -> Section | None:
    if not cleaning.suspects:
        return None
    left = int(cleaning.dropped.sum()) - len(cleaning.suspects)
    lead = "By how much another class beats the given one, the most doubtful first."
    if all(suspect.image is None for suspect in cleaning.suspects):
        lead += (
            " There are no pictures: the models looked at features. Find the images by their names."
        )
        lead += f" {plural(left, 'more dropped label')} not shown." if left > 0 else ""
    elif left > 0:
        lead += f" {plural(left, 'more dropped label')} without a picture here."
    made = [_card(suspect) for suspect in cleaning.suspects]
    return Section("suspects", "Suspects", lead, cards(made, SHOWN))


def _card(suspect: Suspect) -> Html:
    rows = [("given", [suspect.given]), ("model", list(suspect.choices))]
    if suspect.truth is not None:
        rows.append(("truth", [(suspect.truth, float("nan"))]))
    known = terms((name, chips(entries)) for name, entries in rows)
    picture = None if suspect.image is None else photo(suspect.image, suspect.item)
    return card(picture, suspect.item, known)


def chips(entries: Sequence[tuple[str, float]]) -> Html:
    return tag(
        "ul",
        [
            tag(
                "li",
                named(name),
                tag("small", formatting.decimal(score)) if score == score else None,
            )
            for name, score in entries
        ],
        class_="chips",
    )


def _pairs(cleaning: Cleaning) -> Section | None:
    order = np.argsort(-cleaning.dropped, axis=None, kind="stable")[:PAIRS]
    given, choice = np.unravel_index(order, cleaning.dropped.shape)
    found = [(g, c) for g, c in zip(given.tolist(), choice.tolist(), strict=True)]
    found = [(g, c) for g, c in found if g != c and cleaning.dropped[g, c]]
    if not found:
        return None
    choice_head = head("model's first choice", text=True)
    heads = columns("given", choice_head, "dropped", "of the class, %")
    rows = [
        row(
            named(cleaning.classes[g]),
            tag("td", named(cleaning.classes[c])),
            count(int(cleaning.dropped[g, c])),
            percent(cleaning.dropped[g, c] / cleaning.counts[g]),
        )
        for g, c in found
    ]
    return Section(
        "pairs",
        "Confused classes",
        "What labels said and the model says instead. Two classes that are confused both ways may "
        "need a better description, or be one class.",
        table(heads, [rows], "Pairs of classes among the dropped labels", sortable=True),
    )


def _classes(cleaning: Cleaning) -> Section:
    heads = columns("class", "labels", "dropped, %")
    lost = cleaning.dropped.sum(1)
    share = lost / np.maximum(cleaning.counts, 1)
    rows = [
        row(
            named(cleaning.classes[c]),
            count(int(cleaning.counts[c])),
            bar(float(share[c]), percent(float(share[c]))),
        )
        for c in np.argsort(-share, kind="stable").tolist()
        if cleaning.counts[c]
    ]
    return Section(
        "classes",
        "By class",
        "A class that loses nearly everything is one that the model cannot recognise: do not let it "
        "vanish from the data unseen.",
        table(heads, [rows], "Dropped labels by class", sortable=True, filter_="Find a class"),
    )
