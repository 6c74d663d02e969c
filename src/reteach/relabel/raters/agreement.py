"""How far raters agree beyond chance: Krippendorff's α, Fleiss' κ, and the agreement of each two raters.

* α (K. Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011), nominal: 1 − observed over
  expected disagreement. Raters may leave out units; units with one answer say nothing.
* κ (J. L. Fleiss, "Measuring nominal scale agreement among many raters", 1971) needs as many answers to
  every unit: it is that of the units with the most frequent number of answers.

Both are unknown (NaN) where only one kind of answer was ever given: chance alone would then agree too.
α's interval is a percentile bootstrap over items, whose units are drawn together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dawid_skene import Answers

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

DRAWS = 1000
CHUNK = 2_000_000
"""Weights drawn at a time: a bound on memory."""


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's α of some units, with its 95% interval."""

    value: float
    """At most 1; 0: as chance; NaN: unknown."""
    low: float
    high: float
    units: int
    """With two answers or more."""


@dataclass(frozen=True)
class Kappa:
    """Fleiss' κ of the units with the same number of answers."""

    value: float
    answers: int
    """To each of the units, 0 if no unit has two."""
    units: int
    left_out: int
    """Answered units with another number of answers."""


@dataclass(frozen=True)
class Together:
    """Two raters who answered the same units."""

    first: str
    second: str
    both: int
    """Units that both answered."""
    same: int
    """Units that both answered alike."""


@dataclass(frozen=True)
class Agreement:
    """What can be said of the raters' agreement without knowing the truth."""

    alpha: Alpha
    kappa: Kappa
    both: int
    """Pairs of answers to one unit by two raters."""
    same: int
    """Those of them that are alike."""
    classes: dict[str, Alpha] = field(repr=False)
    """Class -> α of the units about it."""
    raters: list[Together] = field(repr=False)
    """Each two raters with a unit in common, the least alike first."""

    @property
    def observed(self) -> float:
        """The share of pairs of answers that are alike; NaN where no unit has two."""
        return self.same / self.both if self.both else float("nan")


def krippendorff(counts: Indices) -> float:
    """Krippendorff's nominal α; NaN if it is unknown.

    Args:
        counts: (U, L) how many raters gave each of the L answers to each unit.
    """
    return float(_alpha(_terms(counts).sum(0, keepdims=True))[0])


def fleiss(counts: Indices) -> Kappa:
    """Fleiss' κ of the units with the most frequent number of answers, the larger of two that tie.

    Args:
        counts: (U, L), see :func:`krippendorff`.
    """
    answers = counts.sum(1)
    frequency = np.bincount(answers[answers > 1])
    if not len(frequency):
        return Kappa(float("nan"), 0, 0, int((answers > 0).sum()))
    n = len(frequency) - 1 - int(frequency[::-1].argmax())
    chosen = counts[answers == n].astype(np.float64)
    chance = float(((chosen.sum(0) / chosen.sum()) ** 2).sum())
    observed = float((((chosen**2).sum(1) - n) / (n * (n - 1))).mean())
    value = (observed - chance) / (1 - chance) if chance < 1 else float("nan")
    return Kappa(value, n, len(chosen), int((answers > 0).sum()) - len(chosen))


def alpha_interval(counts: Indices, item: Indices, draws: int = DRAWS, seed: int = 0) -> Alpha:
    """α with its 95% interval: items are drawn again with replacement, each with all its units.

    Args:
        counts: (U, L), see :func:`krippendorff`.
        item: (U,) the item of each unit, any integers.
        draws: of the bootstrap; those in which α is unknown are left out.
    """
    paired = counts.sum(1) > 1
    terms = _terms(counts[paired])
    _, place = np.unique(item[paired], return_inverse=True)
    items = int(place.max()) + 1 if len(place) else 0
    value = float(_alpha(terms.sum(0, keepdims=True))[0])
    if items < 2 or np.isnan(value):
        return Alpha(value, float("nan"), float("nan"), len(terms))
    by_item = np.stack([np.bincount(place, column, items) for column in terms.T], axis=1)
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // items)
    drawn = [
        _alpha(_weights(rng, items, min(step, draws - at)) @ by_item)
        for at in range(0, draws, step)
    ]
    found = np.concatenate(drawn)
    low, high = np.percentile(found[~np.isnan(found)], [2.5, 97.5])
    return Alpha(value, float(low), float(high), len(terms))


def _weights(rng: np.random.Generator, items: int, draws: int) -> Indices:
    """(D, N) how often each item is drawn: N times with replacement, D times over."""
    drawn = rng.integers(0, items, (draws, items)) + items * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * items).reshape(draws, items)


def pairwise(answers: Answers, names: list[str]) -> list[Together]:
    """How often each two raters who share units answer alike, the least alike first.

    Args:
        answers: at most one of each rater to each task.
        names: (W,) of the raters.
    """
    from scipy.sparse import csr_matrix, triu

    ones = np.ones(len(answers.task))
    shape = (answers.tasks, answers.raters)
    said = csr_matrix((ones, (answers.task, answers.rater)), shape=shape)
    both = triu(said.T @ said, k=1).tocoo()
    same = np.zeros(both.nnz)
    if not both.nnz:
        return []
    for choice in range(answers.choices):
        given = answers.answer == choice
        where = (answers.task[given], answers.rater[given])
        one = csr_matrix((ones[given], where), shape=shape)
        same += np.asarray((one.T @ one).tocsr()[both.row, both.col]).ravel()
    found = [
        Together(names[a], names[b], int(n), int(s))
        for a, b, n, s in zip(both.row, both.col, both.data, same, strict=True)
    ]
    return sorted(found, key=lambda pair: (pair.same / pair.both, -pair.both))


def agreement(
    answers: Answers, names: list[str], item: Indices, about: Indices, classes: list[str]
) -> Agreement:
    """All of it for units that are each about one class.

    Args:
        answers: tasks are the units; at most one answer of each rater to each.
        names: (W,) of the raters.
        item: (T,) the item of each unit.
        about: (T,) the class of each unit.
        classes: names of the classes.
    """
    counts = _counts(answers)
    order = np.argsort(about, kind="stable")
    ends = np.searchsorted(about[order], np.arange(len(classes) + 1))
    each = {
        name: alpha_interval(counts[rows], item[rows])
        for name, a, b in zip(classes, ends, ends[1:], strict=False)
        if (counts[rows := order[a:b]].sum(1) > 1).any()
    }
    return _whole(counts, item, each, pairwise(answers, names))


def agreement_on_classes(
    answers: Answers, names: list[str], item: Indices, classes: list[str]
) -> Agreement:
    """All of it for units whose answers are classes; a class's α is that of *this class or another*.

    Args:
        answers: answers are indices into ``classes``.
    """
    counts = _counts(answers)
    each = {}
    for c, name in enumerate(classes):
        this = counts[:, c]
        if this.any():
            each[name] = alpha_interval(np.stack([this, counts.sum(1) - this], axis=1), item)
    return _whole(counts, item, each, pairwise(answers, names))


def _whole(
    counts: Indices, item: Indices, each: dict[str, Alpha], raters: list[Together]
) -> Agreement:
    both, same = sum(pair.both for pair in raters), sum(pair.same for pair in raters)
    return Agreement(alpha_interval(counts, item), fleiss(counts), both, same, each, raters)


def _counts(answers: Answers) -> Indices:
    """(T, L) how many raters gave each answer."""
    key = np.asarray(answers.task, np.int64) * answers.choices + answers.answer
    return np.bincount(key, minlength=answers.tasks * answers.choices).reshape(-1, answers.choices)


def _terms(counts: Indices) -> Floats:
    """(U, 1 + L) what each unit adds: its observed disagreement, and its answers where there are two or
    more."""
    answers = counts.sum(1)
    paired = answers > 1
    odd = (answers**2 - (counts**2).sum(1)) / np.maximum(answers - 1, 1)
    return np.where(paired[:, None], np.column_stack([odd, counts]), 0.0)


def _alpha(sums: NDArray[Any]) -> Floats:
    """(D,) α of sums of terms (D, 1 + L)."""
    observed, counts = sums[:, 0], sums[:, 1:]
    n = counts.sum(1)
    expected = n**2 - (counts**2).sum(1)
    known = expected > 0
    return np.where(known, 1 - (n - 1) * observed / np.where(known, expected, 1), np.nan)
