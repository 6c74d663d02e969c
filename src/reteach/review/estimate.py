"""How many labels are wrong, how many of them are found, and what it is worth to go on.

A first guess is made of scores alone. Of single labels it is the posterior that the true class is another
one, by the transition from true to given labels that makes the given ones most likely (expectation
maximisation on scores out of fold). Of label sets it is the doubt in the worst entry.

Then people's decisions correct it: the share of wrong labels among decided items, as a logistic function of
the logit of the guess, with a slope near 1 and an offset near 0 as long as little is known. Which items were
decided may depend on the guess, as it does where the most doubtful come first; that does not bend the curve.
What it says of items that are unlike all that were looked at is extrapolation, and the interval is as wide as
that was wrong on draws of CIFAR-10N (``docs/review.md``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from ..labels import Rows
from .heads import MOST, Doubles, entries_of
from .prepared import Entries, Floats, Kind, Opinion

LEVEL = 0.9
"""Of all intervals."""
CENTRE, SPREAD = (
    {"single": (0.0, 1.0), "multi": (-1.0, 1.0)},
    {"single": (1.0, 0.35), "multi": (2.0, 0.5)},
)
"""Prior of offset and slope: means and standard deviations."""
SHAPE, NEXT = 0.5, 0.15
"""Standard deviation of the logarithm of what is left: where nobody looked, the curve may be another; and the
same of what comes next."""
FRONT, REACH, LEAST_COUNT = 0.95, 1.0, 0.02
"""Quantile of the open items beside which decisions count whole; how far from it in logits they count 0.6;
and the least that any counts."""
MANY = 250
"""Decisions from which that counts whole: before, the prior says how little is known."""
LEAST_SETS = 30
"""Decided label sets below which nothing is said of their noise: scores alone do not tell it."""
_DRAWS, _BINS, _ROUNDS = 400, 512, 40
_WARMTHS = (0.5, 0.67, 1.0, 1.4)


@final
@dataclass(frozen=True)
class Interval:
    """An estimate, and the ends of its 90% interval."""

    value: float
    low: float
    high: float


def guess(
    kind: Kind,
    classes: int,
    given: Entries,
    opinion: Opinion,
    doubt: Floats,
    decided: Entries,
    rows: Rows,
) -> Floats:
    """(N,) that the given labels are wrong, by scores alone; 0 of single items without a label.

    Args:
        doubt: (N,) in the worst entry.
        decided: N sets, as they are now.
        rows: the decided items: their true class is known.
    """
    if kind == "multi":
        return doubt
    labelled = np.flatnonzero(given.sizes > 0)
    known = np.full(len(given), -1, np.int32)
    known[rows] = decided.first[rows]
    some = labelled
    if len(some) > MOST:
        some = np.sort(np.random.default_rng(0).choice(labelled, MOST, replace=False))
    found = [
        _transition(classes, _Scores.of(given, opinion, some, warmth), known[some])
        for warmth in _WARMTHS
    ]
    best = int(np.argmax([likelihood for _, likelihood in found]))
    out = np.zeros(len(given), np.float32)
    for start in range(0, len(labelled), 1 << 16):
        part = labelled[start : start + (1 << 16)]
        scores = _Scores.of(given, opinion, part, _WARMTHS[best])
        out[part] = 1 - scores.posterior(found[best][0])[0][:, -1]
    return out


@final
@dataclass(frozen=True, eq=False)
class _Scores:
    """Probabilities of the best classes of M items, and last of the given one.

    Args:
        y: (M,) given classes.
        classes: (M, K + 1).
        scores: (M, K + 1); 0 where the given class stands among the best.
    """

    y: NDArray[np.int32]
    classes: NDArray[np.int32]
    scores: Doubles

    @staticmethod
    def of(given: Entries, opinion: Opinion, rows: Rows, warmth: float) -> _Scores:
        entry = given.starts[rows]
        y = given.columns[entry]
        classes = np.concatenate([opinion.top[rows], y[:, None]], 1)
        scores = np.concatenate([opinion.scores[rows], opinion.given[entry][:, None]], 1).astype(
            np.float64
        )
        scores[:, :-1][classes[:, :-1] == y[:, None]] = 0
        scores = np.maximum(scores, 0) ** warmth
        return _Scores(y, classes, scores / np.maximum(scores.sum(1, keepdims=True), 1e-300))

    def posterior(self, transition: Doubles) -> tuple[Doubles, Doubles]:
        """(M, K + 1) of the true class by the given one, and (M,) the likelihood of the given one."""
        both = transition[self.y[:, None], self.classes] * self.scores
        total = both.sum(1)
        return both / np.maximum(total, 1e-300)[:, None], total


def _transition(classes: int, scores: _Scores, known: NDArray[np.int32]) -> tuple[Doubles, float]:
    """(C, C) probability of the given class (row) by the true one (column), and the mean log likelihood."""
    table = np.full((classes, classes), 0.3 / max(classes - 1, 1))
    np.fill_diagonal(table, 0.7)
    at = scores.y[:, None].astype(np.int64) * classes + scores.classes
    sure = known >= 0
    counted = np.bincount(
        scores.y[sure].astype(np.int64) * classes + known[sure], minlength=classes**2
    )
    total = np.zeros(len(known))
    for _ in range(_ROUNDS):
        found, total = scores.posterior(table)
        counts = counted + np.bincount(at[~sure].ravel(), found[~sure].ravel(), classes**2)
        table = counts.reshape(classes, classes) + 1e-3
        table /= table.sum(0)
    return table, float(np.log(np.maximum(total, 1e-300)).mean())


@final
@dataclass(frozen=True, eq=False)
class NoiseCurve:
    """From the guess to a probability, by what people found.

    Args:
        mean: (2,) offset and slope.
        spread: (2, 2) their covariance.
        decided: how many decisions it is learned from.
    """

    mean: Doubles
    spread: Doubles
    decided: int

    def __call__(self, guessed: Floats) -> Floats:
        """(M,) that the given labels are wrong."""
        found = expit(self.mean[0] + self.mean[1] * _logit(guessed))
        return np.asarray(np.where(guessed > 0, found, 0), np.float32)

    def total(
        self, guessed: Floats, count: NDArray[np.int64] | None = None, *, offered: bool = False
    ) -> Doubles:
        """Draws of how many of M items are wrong, ascending.

        Args:
            count: (M,) how many items each guess stands for; None: one.
            offered: they are next in the order, and so like what people have just looked at.
        """
        many = np.ones(len(guessed), np.int64) if count is None else count
        keep = (guessed > 0) & (many > 0)
        some, many = _logit(guessed[keep]), many[keep]
        if not len(some):
            return np.zeros(_DRAWS)
        rng = np.random.default_rng(0)
        weight, edges = np.histogram(some, min(_BINS, 8 * len(some)), weights=many)
        draws = rng.multivariate_normal(self.mean, self.spread, _DRAWS)
        p = expit(draws[:, :1] + draws[:, 1:] * (edges[1:] + edges[:-1]) / 2)
        expected = p @ weight
        chance = np.sqrt((p * (1 - p)) @ weight) * rng.standard_normal(_DRAWS)
        shape = NEXT if offered else SHAPE * min(1.0, self.decided / MANY)
        found = (expected + chance) * np.exp(shape * rng.standard_normal(_DRAWS))
        return np.sort(np.clip(found, 0, many.sum()))


def calibrated(
    kind: Kind, guessed: Floats, wrong: NDArray[np.bool_], ahead: Floats | None = None
) -> NoiseCurve:
    """The curve after some decisions.

    Args:
        guessed: (M,) of the decided items.
        wrong: (M,) whether their given labels were.
        ahead: (L,) of the open ones: decisions on items like the most doubtful of them count most, so that
            the curve is right where people are about to look.
    """
    keep = guessed > 0
    s, w = _logit(guessed[keep]), wrong[keep].astype(np.float64)
    counts = np.ones(len(s))
    if ahead is not None and (ahead > 0).any():
        apart = (s - np.quantile(_logit(ahead[ahead > 0]), FRONT)) / REACH
        counts = np.maximum(np.exp(-(apart**2) / 2), LEAST_COUNT)
    x = np.stack([np.ones(len(s)), s], 1)
    prior = np.array(CENTRE[kind])
    precision = np.diag(1 / np.array(SPREAD[kind]) ** 2)

    def cost(mean: Doubles) -> float:
        off = mean - prior
        score = x @ mean
        data = counts @ (np.logaddexp(0, score) - w * score)
        return float(data + off @ precision @ off / 2)

    mean = prior.copy()
    for _ in range(100):  # Newton's steps, halved until they descend
        p = expit(x @ mean)
        hessian = x.T @ (x * (counts * p * (1 - p))[:, None]) + precision
        step = np.linalg.solve(hessian, x.T @ (counts * (w - p)) - precision @ (mean - prior))
        before = cost(mean)
        while cost(mean + step) > before and np.abs(step).max() > 1e-9:
            step = step / 2
        mean = mean + step
        if np.abs(step).max() < 1e-6:
            break
    p = expit(x @ mean)
    hessian = x.T @ (x * (counts * p * (1 - p))[:, None]) + precision
    return NoiseCurve(mean, np.linalg.inv(hessian), len(s))


def _logit(p: Floats) -> Doubles:
    return np.asarray(logit(np.clip(np.asarray(p, np.float64), 1e-6, 1 - 1e-6)))


def interval(draws: Doubles) -> Interval:
    """Median and ends of sorted or unsorted draws."""
    low, value, high = np.quantile(draws, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def worst_entry(kind: Kind, given: Entries, opinion: Opinion) -> Floats:
    """(N,) 0 … 1: the doubt in the given label, of sets in the most doubtful entry, present or absent."""
    out = np.zeros(len(given), np.float32)
    if len(given.columns):
        some = given.sizes > 0
        out[some] = np.maximum.reduceat(1 - opinion.given, given.starts[:-1][some])
    if kind == "single":
        return out
    missing = np.where(absent(given, opinion.top), opinion.scores, 0).max(1)
    return np.asarray(np.maximum(out, missing), np.float32)


def absent(given: Entries, top: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(N, K) which of the best classes are not among the given ones."""
    out = np.empty(top.shape, np.bool_)
    for start in range(0, len(given), 1 << 16):
        rows = np.arange(start, min(start + (1 << 16), len(given)))
        at, entry = entries_of(given, rows)
        best = np.asarray(top[rows])
        hit = np.zeros(best.shape, np.bool_)
        np.logical_or.at(hit, at, best[at] == given.columns[entry][:, None])
        out[rows] = ~hit
    return out


def shares(draws: Doubles, found: int, of: int) -> tuple[Interval, Interval, Interval]:
    """Noise before, noise now and the share that is found.

    Args:
        draws: of the wrong labels that are left.
        found: wrong labels that people found.
        of: all labels.
    """
    total = draws + found
    return (
        interval(total / of),
        interval(draws / of),
        interval(np.where(total > 0, found / np.maximum(total, 1e-9), 1.0)),
    )
