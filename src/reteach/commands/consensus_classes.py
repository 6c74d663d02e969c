"""``reteach relabel consensus`` of raters who name one of many classes per item."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..frames import TableFile
from ..inline import InNotebook
from ..item_index import ItemIndex, rows_among
from ..labels import Multi, Single
from ..options.relabel import ConsensusOptions
from ..relabel.raters.agreement import Agreement, agreement_on_classes
from ..relabel.raters.consensus import TOLERANCE
from ..relabel.raters.crowdlab import crowdlab
from ..relabel.raters.dawid_skene import dawid_skene
from ..relabel.raters.glad import glad
from ..relabel.raters.mace import mace
from ..relabel.raters.rating_tables import Votes
from ..scores.table import ScoreWriter, open_scores
from ..tables import LabelTable, write_labels

LEAST = 1e-6
"""Smaller probabilities are not written."""


@final
@dataclass(frozen=True)
class ClassConsensusResult(InNotebook, TableFile):
    """One label per item; ties are left open.

    Args:
        out: the label table.
        unlabeled: label table of the items without a label.
        scores: probability of every class of an item, where it was asked for.
        method: em, mace, glad, crowdlab or majority.
        answers: that were given.
        raters: who gave them.
        classes: that they name.
        items: that they are about.
        labelled: those with a label.
        agreement: of the raters with each other.
    """

    out: Path
    unlabeled: Path
    scores: Path | None
    method: str
    answers: int
    raters: int
    classes: int
    items: int
    labelled: int
    agreement: Agreement

    def lines(self) -> Iterator[str]:
        """The answers, how many items have a label, and the files."""
        yield (
            f"{self.answers:,} answers of {self.raters} raters who name one of "
            f"{self.classes} classes; method: {self.method}"
        )
        yield from agreement_lines(self.agreement)
        yield f"{self.labelled:,} of {self.items:,} items labelled: {self.out}"
        if self.scores is not None:
            yield f"scores: {self.scores}"
        yield f"{self.items - self.labelled:,} items without labels: {self.unlabeled}"


def agreement_lines(found: Agreement) -> Iterator[str]:
    """α, κ and how many pairs of answers are alike; nothing where no two raters share a question."""
    if not found.both:
        return
    alpha, kappa = found.alpha, found.kappa
    known = f"{alpha.value:.3f} ({alpha.low:.3f} to {alpha.high:.3f}, 95% by item)"
    yield (
        f"agreement: Krippendorff's α {'unknown' if math.isnan(alpha.value) else known}, Fleiss' κ "
        f"{'unknown' if math.isnan(kappa.value) else f'{kappa.value:.3f}'} ({kappa.units:,} questions with "
        f"{kappa.answers} answers); two raters answer alike in {found.observed:.1%} of {found.both:,} cases"
    )


def consensus_of_classes(options: ConsensusOptions, votes: Votes) -> ClassConsensusResult:
    """One label per item from raters who name a class.

    Raises:
        UserError: a setting for answers that are yes, maybe or no to one class.
    """
    for option in ("gold", "trust_original", "precision", "recall", "report", "wanted", "agree"):
        if getattr(options, option) is not None:
            flag = option.replace("_", "-")
            raise UserError(f"--{flag} needs answers that are yes, maybe or no to one class")
    if options.method == "golden":
        raise UserError("--method golden needs answers that are yes, maybe or no to one class")
    posterior = _posterior(options, votes)
    best = posterior.max(1, keepdims=True)
    tied = (posterior == best).sum(1) > 1
    low = best[:, 0] < (options.threshold or 0.0)
    label = Single(np.where(tied | low, -1, posterior.argmax(1)), tuple(votes.classes))
    method = options.method or "em"
    source = f"{method} consensus of {len(votes.raters)} raters"
    write_labels(options.out, LabelTable(tuple(votes.items), label, source))
    if options.scores is not None:
        rows, columns = np.nonzero(posterior >= LEAST)
        with ScoreWriter(options.scores, votes.classes, double=True) as out:
            out.write(votes.items, rows, columns, posterior[rows, columns])
    unlabeled = [votes.items[row] for row in np.flatnonzero(~label.known()).tolist()]
    return ClassConsensusResult(
        options.out,
        write_unlabeled(options, unlabeled),
        options.scores,
        method,
        len(votes.answers.answer),
        len(votes.raters),
        len(votes.classes),
        len(label),
        int(label.known().sum()),
        agreement_on_classes(
            votes.answers, votes.raters, np.arange(len(votes.items)), votes.classes
        ),
    )


def _posterior(options: ConsensusOptions, votes: Votes) -> NDArray[np.float64]:
    """(T, K) probability of each class of each item."""
    answers, rounds = votes.answers, options.iterations
    if answers.choices < 2 and options.method in ("mace", "glad", "crowdlab"):
        raise UserError(f"--method {options.method} needs answers that name two classes or more")
    if options.method == "majority":
        return answers.shares()
    if options.method == "mace":
        return mace(answers, np.arange(answers.choices), iterations=rounds).posterior
    if options.method == "glad":
        return glad(answers, iterations=rounds).posterior
    if options.method == "crowdlab":
        assert options.model_scores is not None
        try:
            return crowdlab(answers, _model(options.model_scores, votes)).posterior
        except ValueError:
            raise UserError(
                "crowdlab judges raters by items with two answers, and there is none: use --method mace"
            ) from None
    return dawid_skene(
        answers,
        answers.shares(),
        iterations=rounds,
        smoothing=options.smoothing,
        tolerance=TOLERANCE,
    ).posterior


def _model(path: Path, votes: Votes) -> NDArray[np.float64]:
    """(T, K) the model's probabilities of the classes that were named, of those alone.

    Raises:
        UserError: the table lacks a class or an item.
    """
    table = open_scores(path)
    own = table.classes
    if own is None:
        raise UserError(f"{path}: a score table without a class list: predict again")
    if lacking := [name for name in votes.classes if name not in set(own)]:
        raise UserError(f"{path}: raters name {lacking[0]!r}, which is no class of the model")
    place = ItemIndex(votes.items)
    scores = np.full((len(votes.items), len(own)), np.nan)
    for rows in table.batches(place, own):
        here = rows.item < len(votes.items)
        scores[rows.item[here], rows.cls[here]] = rows.score[here]
    chosen = scores[:, rows_among(votes.classes, own)]
    unknown = np.flatnonzero(np.isnan(chosen).any(1))
    if len(unknown):
        raise UserError(
            f"{path}: {len(unknown):,} of {len(chosen):,} rated items lack scores, first: "
            f"{votes.items[unknown[0]]!r} (reteach predict --top keeps more classes)"
        )
    total = chosen.sum(1, keepdims=True)
    if (chosen < 0).any() or (chosen > 1).any() or (total == 0).any():
        raise UserError(f"{path}: scores should be probabilities from 0 to 1")
    return np.asarray(chosen / total)


def write_unlabeled(options: ConsensusOptions, items: Sequence[str]) -> Path:
    """A label table of these items, without labels: what is left to decide by hand."""
    path = options.unlabeled or options.out.with_name(f"{options.out.stem}.unlabeled.csv")
    empty = np.zeros(len(items) + 1, np.int64)
    table = LabelTable(tuple(items), Multi(empty, empty[:0], ()), "left without labels")
    write_labels(path, table)
    return path
