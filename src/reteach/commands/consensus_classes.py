"""``reteach relabel consensus`` of raters who name one of many classes per item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from ..errors import UserError
from ..labels import Multi, Single
from ..options.relabel import ConsensusOptions
from ..relabel.raters.consensus import TOLERANCE
from ..relabel.raters.dawid_skene import dawid_skene
from ..relabel.raters.rating_tables import Votes
from ..scores.table import ScoreWriter
from ..tables import LabelTable, write_labels

LEAST = 1e-6
"""Smaller probabilities are not written."""


@final
@dataclass(frozen=True)
class ClassConsensusResult:
    """One label per item; ties are left open.

    Args:
        out: the label table.
        unlabeled: label table of the items without a label.
        scores: probability of every class of an item, where it was asked for.
        method: em or majority.
        answers: that were given.
        raters: who gave them.
        classes: that they name.
        items: that they are about.
        labelled: those with a label.
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

    def lines(self) -> Iterator[str]:
        """The answers, how many items have a label, and the files."""
        yield (
            f"{self.answers:,} answers of {self.raters} raters who name one of "
            f"{self.classes} classes; method: {self.method}"
        )
        yield f"{self.labelled:,} of {self.items:,} items labelled: {self.out}"
        if self.scores is not None:
            yield f"scores: {self.scores}"
        yield f"{self.items - self.labelled:,} items without labels: {self.unlabeled}"


def consensus_of_classes(options: ConsensusOptions, votes: Votes) -> ClassConsensusResult:
    """One label per item from raters who name a class.

    Raises:
        UserError: a setting for answers that are yes, maybe or no to one class.
    """
    for option in ("gold", "trust_original", "precision", "recall", "report"):
        if getattr(options, option) is not None:
            flag = option.replace("_", "-")
            raise UserError(f"--{flag} needs answers that are yes, maybe or no to one class")
    if options.method == "golden":
        raise UserError("--method golden needs answers that are yes, maybe or no to one class")
    posterior = votes.answers.shares()
    if options.method != "majority":
        posterior = dawid_skene(
            votes.answers,
            posterior,
            iterations=options.iterations,
            smoothing=options.smoothing,
            tolerance=TOLERANCE,
        ).posterior
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
    )


def write_unlabeled(options: ConsensusOptions, items: Sequence[str]) -> Path:
    """A label table of these items, without labels: what is left to decide by hand."""
    path = options.unlabeled or options.out.with_name(f"{options.out.stem}.unlabeled.csv")
    empty = np.zeros(len(items) + 1, np.int64)
    table = LabelTable(tuple(items), Multi(empty, empty[:0], ()), "left without labels")
    write_labels(path, table)
    return path
