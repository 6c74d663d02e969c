"""How good each rater is, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..relabel.raters.consensus import answers_of
from ..relabel.raters.dawid_skene import count_confusions
from ..relabel.raters.ratings import MAYBE, NO, YES, Ratings
from .intervals import wilson

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """A share with its 95% Wilson interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RaterQuality:
    """One rater against gold, or against the consensus where there is no gold."""

    name: str
    answers: int
    """How many answers the rater gave to what it is judged on."""
    maybe: float
    """Share of *maybe* among these."""
    precision: Share
    """The share of the rater's *yes* that is true."""
    recall: Share
    """The share of the classes that are present to which the rater said *yes*."""
    specificity: Share
    """The share of the classes that are absent to which the rater said *no*."""


def rater_quality(ratings: Ratings, present: Floats) -> list[RaterQuality]:
    """Every rater who answered, judged by what is known of the truth.

    Args:
        present: (P,) probability that the class is present: gold (0 or 1) or the consensus; NaN
            for pairs that are not to be judged on.
    """
    known = ~np.isnan(present)
    truth = np.where(known, present, 0.0)
    both = np.stack([np.where(known, 1 - truth, 0.0), truth], axis=1)
    counts = count_confusions(answers_of(ratings), both)
    said = counts.sum(1)

    precision = _shares(counts[:, 1, YES], said[:, YES])
    recall = _shares(counts[:, 1, YES], counts[:, 1].sum(1))
    specificity = _shares(counts[:, 0, NO], counts[:, 0].sum(1))
    return [
        RaterQuality(
            name,
            round(float(said[w].sum())),
            float(said[w, MAYBE] / said[w].sum()),
            precision[w],
            recall[w],
            specificity[w],
        )
        for w, name in enumerate(ratings.raters)
        if said[w].sum() > 0
    ]


def _shares(hits: Floats, n: Floats) -> list[Share]:
    low, high = wilson(hits, n)
    value = hits / np.where(n > 0, n, np.nan)
    return [Share(*row) for row in zip(value.tolist(), low.tolist(), high.tolist(), strict=True)]
