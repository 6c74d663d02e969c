"""Linear heads on frozen features that have not seen what they judge, learned in seconds.

Of single labels they are the Gaussians of one shrunk covariance of :mod:`..methods.clean_judges`, which
average wrong labels out: each is learned twice again with labels softened by the transition that they
suggest, but what a reviewer has decided stays as it is. Of label sets they are ridge regressions, each class
with a slope and an offset that make probabilities of its scores out of fold.

The covariance of all features does not depend on labels: it is computed once, when the folder is prepared,
and a head is then a pass over the features and the solution of one system of equations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.special import expit, softmax

from ..labels import Rows
from ..methods.clean_judges import MILD, ROUNDS, SHRINKAGE, TRUST
from .prepared import TOP, Entries, Floats, Half, Kind, Opinion, mapped

MOST = 50_000
"""Items that heads learn from: all decided ones, and a random sample of the rest."""
BLOCK = 8192
_STEPS = 25
_WARMTHS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 4.0, 6.0)
_RANDOM = (0.0, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
Doubles = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of features without their labels.

    Args:
        mean, spread: (D,).
        second: (D, D) moments of the standardised features.
    """

    mean: Floats
    spread: Floats
    second: Floats

    @staticmethod
    def of(features: Half, seed: int) -> Moments:
        """Of all items, or a random sample of :data:`MOST`."""
        n, width = features.shape
        rows = np.sort(np.random.default_rng(seed).permutation(n)[:MOST])
        total, squares = np.zeros(width), np.zeros(width)
        for part in _parts(rows):
            exact = np.asarray(features[part], np.float64)
            total += exact.sum(0)
            squares += (exact**2).sum(0)
        mean = total / len(rows)
        spread = np.sqrt(np.maximum(squares / len(rows) - mean**2, 1e-12))
        found = Moments(
            mean.astype(np.float32), spread.astype(np.float32), np.zeros((0, 0), np.float32)
        )
        second = np.zeros((width, width), np.float64)
        for part in _parts(rows):
            x = found.standardised(features[part])
            second += x.T @ x
        return Moments(found.mean, found.spread, (second / len(rows)).astype(np.float32))

    def standardised(self, x: Half) -> Floats:
        """(M, D) with mean 0 and spread 1."""
        return np.asarray((np.asarray(x, np.float32) - self.mean) / self.spread, np.float32)

    def save(self, folder: Path) -> None:
        """As one array."""
        np.save(
            folder / "moments.npy",
            np.concatenate([self.mean[None], self.spread[None], self.second]),
        )

    @staticmethod
    def load(folder: Path) -> Moments:
        """As :meth:`save` wrote them."""
        found = np.asarray(mapped(folder / "moments.npy"), np.float32)
        return Moments(found[0], found[1], found[2:])


@final
@dataclass(frozen=True, eq=False)
class Lesson:
    """What heads learn.

    Args:
        features: (N, D).
        labels: N sets, as they are now.
        usable: (N,) those to learn from.
        decided: (N,) those that a reviewer has decided.
        classes: C.
        fold: (N,) the fold of each item; copies lie in one.
    """

    kind: Kind
    features: Half
    moments: Moments
    labels: Entries
    usable: NDArray[np.bool_]
    decided: NDArray[np.bool_]
    classes: int
    fold: NDArray[np.int8]
    seed: int = 0

    def sample(self) -> Rows:
        """(M,) the items to learn from, ascending."""
        rows = np.flatnonzero(self.usable)
        if len(rows) <= MOST:
            return rows
        chance = np.random.default_rng(self.seed).random(len(rows))
        chance[self.decided[rows]] -= 1  # first
        return np.sort(rows[np.argsort(chance, kind="stable")[:MOST]])


def out_of_fold(lesson: Lesson, given: Entries) -> Opinion:
    """What heads say of each item that they have not learned from.

    Args:
        given: N sets whose probabilities are kept.
    """
    rows = lesson.sample()
    x = lesson.moments.standardised(lesson.features[rows])
    fold, own = lesson.fold[rows], lesson.fold
    heads = [_learn(lesson, rows[fold != k], x[fold != k]) for k in range(int(own.max()) + 1)]
    seen = _scores(heads, x, fold)
    slope, offset = (
        _warmth(seen, lesson.labels.first[rows])
        if lesson.kind == "single"
        else _calibrated(seen, dense(lesson.labels, rows, lesson.classes))
    )
    n, top = len(own), min(TOP, lesson.classes)
    opinion = Opinion(
        np.zeros((n, top), np.int32),
        np.zeros((n, top), np.float32),
        np.zeros(len(given.columns), np.float32),
    )
    link = _softmax if lesson.kind == "single" else expit
    for part in _parts(np.arange(n)):
        z = lesson.moments.standardised(lesson.features[part[0] : part[-1] + 1])
        scores = _scores(heads, z, own[part])
        _keep(opinion, part, np.asarray(link(slope * scores + offset), np.float32), given)
    return opinion


Head = tuple[Floats, Floats]
"""(D, C) weights and (C,) offsets."""


def _scores(heads: Sequence[Head], x: Floats, fold: NDArray[np.int8]) -> Floats:
    """(M, C) of each item by the head of its fold."""
    out = np.empty((len(x), len(heads[0][1])), np.float32)
    for k, (weight, offset) in enumerate(heads):
        own = fold == k
        out[own] = x[own] @ weight + offset
    return out


def _learn(lesson: Lesson, rows: Rows, x: Floats) -> Head:
    if lesson.kind == "multi":
        return ridge(x, dense(lesson.labels, rows, lesson.classes), lesson.moments.second)
    y = lesson.labels.first[rows].astype(np.int64)
    return gaussians(x, y, lesson.decided[rows], lesson.classes, lesson.moments.second)


def gaussians(x: Floats, y: Rows, decided: NDArray[np.bool_], classes: int, second: Floats) -> Head:
    """The logits of Gaussians of one shrunk covariance, learned from softened labels.

    As :func:`..methods.clean_judges.discriminant`, but what is decided is not softened, and the transition is
    that of the other labels.

    Args:
        x: (M, D) standardised.
        y: (M,) labels.
        decided: (M,) where they are surely right.
        second: (D, D) moments about 0.
    """
    given = np.eye(classes, dtype=np.float32)[y]
    soft = given
    for _ in range(ROUNDS):
        weight, offset = _gaussians(x, soft, second)
        sure = _softmax(MILD * (x @ weight + offset))
        transition = given[~decided].T @ sure[~decided]  # given × true
        likely = sure * (transition / np.maximum(transition.sum(0), 1e-12))[y]
        likely /= np.maximum(likely.sum(1, keepdims=True), 1e-12)
        soft = np.where(decided[:, None], given, TRUST * given + (1 - TRUST) * likely)
    return _gaussians(x, soft, second)


def _gaussians(x: Floats, soft: Floats, second: Floats) -> Head:
    weight = soft.sum(0, dtype=np.float64)
    centres = np.asarray(soft.T @ x, np.float64) / np.maximum(weight, 1e-12)[:, None]
    between = (centres.T * (weight / weight.sum())) @ centres
    directions = _directions(x, second, between, centres.T)
    with np.errstate(divide="ignore"):
        prior = np.log(weight / weight.sum())
    offset = prior - 0.5 * np.sum(centres.T * directions, axis=0)
    return directions.astype(np.float32), offset.astype(np.float32)


def ridge(x: Floats, y: Floats, second: Floats) -> Head:
    """Ridge regression of (M, C) zeros and ones, the covariance shrunk as that of :func:`gaussians`."""
    mean, centre = y.mean(0), x.mean(0, dtype=np.float64)
    right = np.asarray(x.T @ (y - mean), np.float64) / len(x)
    weight = _directions(x, second, np.outer(centre, centre), right)
    return weight.astype(np.float32), np.asarray(mean - centre @ weight, np.float32)


def _directions(x: Floats, second: Floats, between: Doubles, right: Doubles) -> Doubles:
    """(D, K) the shrunk covariance, inverted, times ``right``.

    Args:
        x: (M, D) what is learned from.
        second: (D, D) its moments, or those of items like it.
        between: (D, D) what of them lies between the means, to be taken off.
    """
    try:
        return _solved(np.asarray(second, np.float64) - between, right)
    except np.linalg.LinAlgError:
        # of few items whose classes lie far apart only their own moments are as large, but for rounding
        values, directions = eigh(_moments(x) - between)
        return _solved((directions * np.maximum(values, 0)) @ directions.T, right)


def _solved(covariance: Doubles, right: Doubles) -> Doubles:
    even = np.trace(covariance) / len(covariance)
    covariance *= 1 - SHRINKAGE
    covariance[np.diag_indices_from(covariance)] += SHRINKAGE * even + 1e-9
    return np.asarray(cho_solve(cho_factor(covariance, overwrite_a=True), right))


def _moments(x: Floats) -> Doubles:
    """(D, D) the mean of the products of each two features."""
    total = np.zeros((x.shape[1], x.shape[1]), np.float64)
    for start in range(0, len(x), BLOCK):
        total += x[start : start + BLOCK].T @ x[start : start + BLOCK]
    return total / max(len(x), 1)


def _warmth(scores: Floats, y: NDArray[np.int32]) -> tuple[float, float]:
    """What the logits (M, C) of single labels out of fold are multiplied with, and 0.

    The factor under which the labels are most likely, if a share of them is drawn at random: probabilities
    are then those of the true class, not as flat as noise makes those of the given one.
    """
    some = slice(None, None, max(1, len(y) // 10_000))
    scores, y = scores[some], y[some]
    at, best = np.arange(len(y)), (-np.inf, 1.0)
    for warmth in _WARMTHS:
        own = _softmax(warmth * scores)[at, y]
        for random in _RANDOM:
            value = float(np.log((1 - random) * own + random / scores.shape[1] + 1e-30).mean())
            best = max(best, (value, warmth))
    return best[1], 0.0


def _calibrated(scores: Floats, y: Floats) -> tuple[Doubles, Doubles]:
    """(C,) slopes and offsets that make probabilities of scores (M, C) out of fold (Platt 1999): Newton's
    steps, with his prior of one example of either kind."""
    scores = np.asarray(scores, np.float64)
    count = y.sum(0, dtype=np.float64)
    high, low = (count + 1) / (count + 2), 1 / (len(y) - count + 2)
    target = np.where(y > 0, high, low)
    slope, offset = np.full(len(count), 4.0), np.log((count + 1) / (len(y) - count + 1))
    for _ in range(_STEPS):
        p = expit(slope * scores + offset)
        off, weight = target - p, np.maximum(p * (1 - p), 1e-9)
        g0, g1 = off.sum(0), (off * scores).sum(0)
        h00, h01, h11 = weight.sum(0), (weight * scores).sum(0), (weight * scores**2).sum(0)
        h11 = h11 + 1e-3
        det = np.maximum(h00 * h11 - h01**2, 1e-12)
        slope = slope + np.clip((h00 * g1 - h01 * g0) / det, -5, 5)
        offset = offset + np.clip((h11 * g0 - h01 * g1) / det, -5, 5)
    return slope, offset


def _softmax(logits: NDArray[Any]) -> Floats:
    return np.asarray(softmax(logits, axis=1), np.float32)


def _keep(opinion: Opinion, rows: Rows, scores: Floats, given: Entries) -> None:
    """Take the scores (M, C) of some items into an opinion."""
    top = opinion.top.shape[1]
    some = np.argpartition(-scores, top - 1, axis=1)[:, :top]
    order = np.lexsort((some, -np.take_along_axis(scores, some, 1)), axis=1)
    best = np.take_along_axis(some, order, 1)
    opinion.top[rows] = best
    opinion.scores[rows] = np.take_along_axis(scores, best, 1)
    at, entry = entries_of(given, rows)
    opinion.given[entry] = scores[at, given.columns[entry]]


def entries_of(labels: Entries, rows: Rows) -> tuple[Rows, Rows]:
    """Of the labels of some rows: which of the rows it is, and which entry."""
    sizes = labels.sizes[rows]
    at = np.repeat(np.arange(len(rows)), sizes)
    within = np.arange(len(at)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return at, np.repeat(labels.starts[rows], sizes) + within


def dense(labels: Entries, rows: Rows, classes: int) -> Floats:
    """(M, C) of zeros and ones."""
    out = np.zeros((len(rows), classes), np.float32)
    at, entry = entries_of(labels, rows)
    out[at, labels.columns[entry]] = 1
    return out


def _parts(rows: Rows) -> Iterator[Rows]:
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def folds_of(copies: NDArray[np.int32], folds: int, seed: int) -> NDArray[np.int8]:
    """(N,) the fold of each item at random, copies in one fold."""
    _, group = np.unique(copies, return_inverse=True)
    turn = np.random.default_rng(seed).permutation(int(group.max()) + 1) % folds
    return np.asarray(turn[group], np.int8)
