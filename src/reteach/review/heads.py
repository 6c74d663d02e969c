"""Linear heads on frozen features that have not seen what they judge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ..labels import Rows
from ..methods.clean_judges import discriminant
from .prepared import TOP, Entries, Floats, Half, Kind, Opinion


def out_of_fold(
    features: Half,
    labels: Entries,
    given: Entries,
    usable: NDArray[np.bool_],
    classes: int,
    kind: Kind,
    fold: NDArray[np.int8],
    on_progress: Callable[[int], object] | None = None,
) -> Opinion:
    """What heads say of each item that they have not learned from.

    Args:
        features: (N, D).
        labels: N sets to learn.
        given: N sets whose probabilities are kept.
        usable: (N,) the items to learn from.
        fold: (N,) the fold of each item.
    """
    n, top = len(features), min(TOP, classes)
    opinion = Opinion(
        np.zeros((n, top), np.int32),
        np.zeros((n, top), np.float32),
        np.zeros(len(given.columns), np.float32),
    )
    learn: Callable[..., Floats] = discriminant if kind == "single" else ridge
    for k in range(int(fold.max()) + 1):
        some = usable & (fold != k)
        x = np.asarray(features[some], np.float32)
        rows = np.flatnonzero(fold == k)
        z = np.asarray(features[rows], np.float32)
        y = (
            labels.first[some].astype(np.int64)
            if kind == "single"
            else dense(labels, np.flatnonzero(some), classes)
        )
        scores = learn(x, y, z, classes)
        keep(opinion, rows, scores, given)
    return opinion


def keep(opinion: Opinion, rows: Rows, scores: Floats, given: Entries) -> None:
    """Take the scores (M, C) of some items into an opinion."""
    top = opinion.top.shape[1]
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    opinion.top[rows] = best
    opinion.scores[rows] = np.take_along_axis(scores, best, 1)
    sizes = given.sizes[rows]
    at = np.repeat(np.arange(len(rows)), sizes)
    entry = np.repeat(given.starts[rows], sizes) + (
        np.arange(len(at)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    )
    opinion.given[entry] = scores[at, given.columns[entry]]


def dense(labels: Entries, rows: Rows, classes: int) -> Floats:
    """(M, C) of zeros and ones."""
    out = np.zeros((len(rows), classes), np.float32)
    sizes = labels.sizes[rows]
    at = np.repeat(np.arange(len(rows)), sizes)
    entry = np.repeat(labels.starts[rows], sizes) + (
        np.arange(len(at)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    )
    out[at, labels.columns[entry]] = 1
    return out


def ridge(x: Floats, y: Floats, z: Floats, classes: int) -> Floats:
    """Ridge regression on ±1."""
    mean, spread = x.mean(0), np.maximum(x.std(0), 1e-6)
    x, z = (x - mean) / spread, (z - mean) / spread
    gram = x.T @ x / len(x) + 0.5 * np.eye(x.shape[1], dtype=np.float32)
    centre = y.mean(0)
    weight = np.linalg.solve(gram, x.T @ (y - centre) / len(x))
    return np.asarray(expit(4 * (z @ weight + centre - 0.5)), np.float32)
