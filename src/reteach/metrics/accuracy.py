"""Accuracy against sets of labels: top-k, and of the k-th prediction alone.

A prediction is right if it is *among* the image's labels (ReaL accuracy; Beyer et al. 2020, "Are we
done with ImageNet?", section 4). With one-hot truth this is plain accuracy. Images with an empty
set are left out, as there. Among equal scores the smaller class index comes first.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .batch import Mask, Scores, check, ratio

# Up to this many places, taking the maximum away again and again is faster than a sort.
_FEW = 16


def first_hit(scores: Scores, truth: Mask) -> NDArray[np.int64]:
    """(B,) the place, 0 for the top one, of the best-placed true class; C where there is none.

    Counts what stands before it instead of sorting. The arrays must have been checked.
    """
    best = np.where(truth, scores, -1).max(axis=1, keepdims=True)
    place: NDArray[np.int64] = np.count_nonzero(scores > best, axis=1)
    level = scores == best
    tied = np.flatnonzero(np.count_nonzero(level, axis=1) > 1)
    if tied.size:
        level = level[tied]
        first = np.argmax(level & truth[tied], axis=1)
        before = np.arange(scores.shape[1]) < first[:, None]
        place[tied] += np.count_nonzero(level & before, axis=1)
    return place


def top_classes(scores: Scores, k: int) -> NDArray[np.int64]:
    """(B, k) the classes of the k largest scores, largest first; ties by class index.

    Raises:
        ValueError: k is not in [1, C].
    """
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must lie in [1, {scores.shape[1]}], got {k}")
    if k > _FEW:
        return np.argsort(-scores, axis=1, kind="stable")[:, :k]
    left = scores.copy()
    rows = np.arange(len(scores))
    top = np.empty((len(scores), k), np.int64)
    for place in range(k):
        top[:, place] = left.argmax(axis=1)
        left[rows, top[:, place]] = -1
    return top


@final
class Accuracy:
    """Top-k accuracy: the share of images with a true label among their k largest scores."""

    def __init__(self, k: int = 1) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.k = k
        self.n = 0
        self._hits = 0

    def update(self, scores: ArrayLike, truth: ArrayLike) -> None:
        """Add a batch (B, C)."""
        values, present = check(scores, truth)
        place = first_hit(values, present)
        columns = values.shape[1]
        self.n += int(np.count_nonzero(place < columns))
        self._hits += int(np.count_nonzero(place < min(self.k, columns)))

    def compute(self) -> float:
        """In [0, 1]; NaN before the first image with a label."""
        return ratio(self._hits, self.n)


@final
class KthAccuracy:
    """How often the k-th largest score is one of the image's labels, for each k up to ``k``."""

    def __init__(self, k: int) -> None:
        self.n = 0
        self._hits = np.zeros(k, np.int64)

    def update(self, scores: ArrayLike, truth: ArrayLike) -> None:
        """Add a batch (B, C).

        Raises:
            ValueError: more places than classes.
        """
        values, present = check(scores, truth)
        top = top_classes(values, len(self._hits))
        self._hits += np.take_along_axis(present, top, axis=1).sum(axis=0)
        self.n += int(np.count_nonzero(present.any(axis=1)))

    def compute(self) -> NDArray[np.float64]:
        """(k,) in [0, 1], the best place first; NaN before the first image with a label."""
        return self._hits / self.n if self.n else np.full(len(self._hits), np.nan)


def accuracy(scores: ArrayLike, truth: ArrayLike, k: int = 1) -> float:
    """Top-k accuracy of whole arrays (N, C); see :class:`Accuracy`."""
    metric = Accuracy(k)
    metric.update(scores, truth)
    return metric.compute()


def kth_accuracy(scores: ArrayLike, truth: ArrayLike, k: int) -> NDArray[np.float64]:
    """(k,) accuracy of each place, of whole arrays (N, C); see :class:`KthAccuracy`."""
    metric = KthAccuracy(k)
    metric.update(scores, truth)
    return metric.compute()
