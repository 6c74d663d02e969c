"""Mean average precision over classes: how well each class ranks the images.

AP = Σ (Rᵢ - Rᵢ₋₁) Pᵢ over the distinct scores, without interpolation: the mean, over the images
that have the class, of the precision among all images scored at least as high. Equal scores are
one group, whatever their order. This is scikit-learn's ``average_precision_score``.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .batch import check, check_known
from .score_buffer import Packed, ScoreBuffer, pack, sort_keys

_CELLS = 8192
_REACH = 16.0  # logits
_ENTRIES_AT_ONCE = 1 << 22
_CLASSES_AT_ONCE = 16  # a cache line of float32: turning blocks into columns is then fastest


@final
class MeanAveragePrecision:
    """mAP over a stream of batches; classes without a positive are left out.

    The scores are kept (``kept``, by default up to 50 million) and the result is exact. Beyond the
    limit each class has a histogram of 8,192 cells, 0.004 logits wide, over ±16 (64 KiB a class);
    the scores of a cell count as tied. This is exact for scores of a few distinct values, and
    about 10⁻⁴ too low for continuous ones. Scores under 10⁻⁷ are then one cell.
    """

    def __init__(self, kept: ScoreBuffer | None = None) -> None:
        self._kept = ScoreBuffer() if kept is None else kept
        self._kept.on_fold(self._fold)
        self._cells = np.zeros((0, _CELLS, 2), np.int32)

    def update(self, scores: ArrayLike, truth: ArrayLike, known: ArrayLike | None = None) -> None:
        """Add a batch (B, C). A shared store is filled by whoever shares it instead."""
        values, present = check(scores, truth)
        self._kept.add(pack(values, present, check_known(known, present)))

    def compute(self) -> float:
        """The mean of the per-class values in [0, 1]; NaN where no class has a positive."""
        each = self.per_class()
        each = each[~np.isnan(each)]
        return float(each.mean()) if each.size else float("nan")

    def left_out(self) -> int:
        """How many classes have no positive."""
        return int(np.count_nonzero(np.isnan(self.per_class())))

    def per_class(self) -> NDArray[np.float64]:
        """(C,) average precision; NaN for a class without a positive."""
        if not self._kept.whole:
            self._kept.settle()
            return np.array([_binned_average_precision(c) for c in self._cells])
        n, columns = self._kept.rows, self._kept.columns
        out = np.full(columns, np.nan)
        width = min(max(1, _ENTRIES_AT_ONCE // max(1, n)), _CLASSES_AT_ONCE)
        for start in range(0, columns, width):
            part = np.empty((min(width, columns - start), n), self._kept.dtype)
            row = 0
            for block in self._kept.blocks():
                part[:, row : row + len(block)] = block[:, start : start + width].T
                row += len(block)
            out[start : start + width] = [_average_precision(one) for one in part]
        return out

    def _fold(self, packed: Packed) -> None:
        columns = packed.shape[1]
        if not len(self._cells):
            self._cells = np.zeros((columns, _CELLS, 2), np.int32)
        size = np.abs(packed)
        with np.errstate(divide="ignore"):
            logits = np.log(size) - np.log1p(-size)
        place = np.clip((logits + _REACH) * (_CELLS / (2 * _REACH)), 0, _CELLS - 1)
        known = ~np.isnan(packed)
        place[~known] = 0
        cell = place.astype(np.uint32) * 2 + ~np.signbit(packed)
        cell += np.arange(columns, dtype=np.uint32) * (2 * _CELLS)
        # Sorted, the cells are visited in memory order: cheaper than a count over all of them.
        filled, count = np.unique(cell[known], return_counts=True)
        self._cells.reshape(-1)[filled] += count.astype(np.int32)


def average_precision(
    scores: ArrayLike, truth: ArrayLike, known: ArrayLike | None = None
) -> NDArray[np.float64]:
    """(C,) average precision of whole arrays (N, C); NaN for a class without a positive."""
    metric = MeanAveragePrecision()
    metric.update(scores, truth, known)
    return metric.per_class()


def _average_precision(packed: Packed) -> float:
    """Average precision of the packed entries (N,) of one class."""
    keys = sort_keys(packed)
    keys.sort()
    keys = keys[: len(keys) - np.count_nonzero(np.isnan(packed))]
    positive = np.flatnonzero((keys & 1).astype(np.bool_))
    if not positive.size:
        return float("nan")
    # The group of equal scores begins at its first negative, if it has one.
    group = np.searchsorted(keys, keys[positive] - 1)
    hits = len(positive) - np.searchsorted(positive, group)
    return float(np.mean(hits / (len(keys) - group)))


def _binned_average_precision(cells: NDArray[np.int32]) -> float:
    """Average precision from one class's (cells, 2) counts of negatives and positives by ascending score."""
    negatives, positives = cells[::-1].T.astype(np.int64)
    hits = np.cumsum(positives)
    if not hits[-1]:
        return float("nan")
    retrieved = hits + np.cumsum(negatives)
    return float(np.sum(positives * hits / np.maximum(retrieved, 1)) / hits[-1])
