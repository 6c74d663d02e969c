"""Example-averaged F1, at one threshold and at all of them.

F1 = mean over images of 2TP / (2TP + FP + FN), the ReaL-F1 of MILe (Rajeswar et al. 2022, section
4.1). A class is predicted where ``score > threshold``; :class:`TopF1` predicts the first choice alone, as
the softmax row of MILe's tables does. An image with neither labels nor predictions counts 1, one with
either alone counts 0: scikit-learn's ``average="samples", zero_division=1``. Whether an empty set of true
labels is *known* to be empty is for the caller to say: ReaL leaves such images out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .accuracy import top_classes
from .batch import Mask, Scores, above, check, check_known, ratio
from .score_buffer import Packed, ScoreBuffer, key_scores, pack, sort_keys

# F1s closer than this are the same number summed in another order.
_EQUAL = 1e-12


class PredictedSets(ABC):
    """F1 per image of predicted label sets, with what explains it: precision and label counts."""

    def __init__(self) -> None:
        self.n = 0
        self._f1 = 0.0
        self._precision = 0.0
        self._predicted = np.zeros(0, np.int64)
        self._true = np.zeros(0, np.int64)

    @abstractmethod
    def predict(self, scores: Scores, known: Mask | None) -> Mask:
        """(B, C) the predicted labels; those that are not ``known`` are taken out afterwards."""

    def update(self, scores: ArrayLike, truth: ArrayLike, known: ArrayLike | None = None) -> None:
        """Add a batch (B, C). Entries not ``known`` are neither predictions nor labels."""
        values, present = check(scores, truth)
        mask = check_known(known, present)
        chosen = self.predict(values, mask)
        if mask is not None:
            chosen, present = chosen & mask, present & mask
        predicted = np.count_nonzero(chosen, axis=1)
        true = np.count_nonzero(present, axis=1)
        chosen &= present
        hits = np.count_nonzero(chosen, axis=1)
        both = predicted + true
        self.n += len(values)
        self._f1 += float(np.sum(2 * hits / np.maximum(both, 1)) + np.count_nonzero(both == 0))
        self._precision += float(np.sum(hits / np.maximum(predicted, 1)))
        self._predicted = _add(self._predicted, np.bincount(predicted))
        self._true = _add(self._true, np.bincount(true))

    def compute(self) -> float:
        """The mean F1 in [0, 1]; NaN before the first image."""
        return ratio(self._f1, self.n)

    def precision(self) -> float:
        """Mean share of right ones among an image's predicted labels; 0 where none is predicted."""
        return ratio(self._precision, self.n)

    def labels_per_image(self) -> float:
        """Mean number of predicted labels: the "label coverage" of MILe's tables."""
        return ratio(_total(self._predicted), self.n)

    def true_labels_per_image(self) -> float:
        """Mean number of true labels."""
        return ratio(_total(self._true), self.n)

    def coverage(self) -> float:
        """Predicted labels per true label."""
        return ratio(_total(self._predicted), _total(self._true))

    def histograms(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many images have 0, 1, 2 … predicted labels, and how many have so many true ones."""
        return self._predicted.copy(), self._true.copy()


@final
class ExampleF1(PredictedSets):
    """Predicted is what scores above a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def predict(self, scores: Scores, known: Mask | None) -> Mask:
        return above(scores, self.threshold)


@final
class TopF1(PredictedSets):
    """Predicted is the first choice alone, among the known classes; of equal scores the first class."""

    def predict(self, scores: Scores, known: Mask | None) -> Mask:
        asked = scores if known is None else np.where(known, scores, -1)
        chosen = np.zeros(scores.shape, np.bool_)
        if scores.shape[1]:
            np.put_along_axis(chosen, top_classes(asked, 1), True, axis=1)
        return chosen


def _add(counts: NDArray[np.int64], more: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of two histograms; the shorter one ends in zeros."""
    short, long = sorted((counts, more), key=len)
    out = long.copy()
    out[: len(short)] += short
    return out


def _total(counts: NDArray[np.int64]) -> int:
    return int(counts @ np.arange(len(counts)))


def example_f1(scores: ArrayLike, truth: ArrayLike, threshold: float) -> float:
    """Example-averaged F1 of whole arrays (N, C); see :class:`ExampleF1`."""
    metric = ExampleF1(threshold)
    metric.update(scores, truth)
    return metric.compute()


@final
class F1Curve:
    """The mean F1 as a step function of the threshold, over a stream of batches.

    Going down an image's sorted scores, its F1 changes from F₍ₖ₋₁₎ to F₍ₖ₎ at the k-th. The sum of
    these changes over all images and all scores above t is the sum of F1 at t.

    The scores are kept (``kept``, by default up to 50 million) and everything is exact. Beyond the
    limit the changes are summed between some 5,000 fixed thresholds: 0.01 apart in logits within
    ±24, and the multiples of 0.01. F1 at these remains exact; others are rounded to the nearest.
    """

    def __init__(self, kept: ScoreBuffer | None = None) -> None:
        self._kept = ScoreBuffer() if kept is None else kept
        self._grid = _Tally(_grid())
        self._kept.on_fold(self._grid.add)

    def update(self, scores: ArrayLike, truth: ArrayLike, known: ArrayLike | None = None) -> None:
        """Add a batch (B, C). A shared store is filled by whoever shares it instead."""
        values, present = check(scores, truth)
        self._kept.add(pack(values, present, check_known(known, present)))

    def sample(self, thresholds: ArrayLike) -> NDArray[np.float64]:
        """The mean F1 at each of the thresholds, in the shape of these; for plots."""
        tally, at = self._look(thresholds)
        return np.asarray(tally.f1()[at])

    def at(self, threshold: float) -> float:
        """The mean F1 at one threshold; NaN before the first image."""
        return float(self.sample(threshold))

    def labels_per_image(self, threshold: float) -> float:
        """Mean number of predicted labels: the "label coverage" of MILe's tables."""
        tally, at = self._look(threshold)
        return ratio(float(tally.predictions()[at]), tally.n)

    def coverage(self, threshold: float) -> float:
        """Predicted labels per true label."""
        tally, at = self._look(threshold)
        return ratio(float(tally.predictions()[at]), tally.true)

    def best(self) -> tuple[float, float]:
        """The threshold of the highest F1, and that F1; the highest threshold among equals.

        All score values are searched. The threshold lies midway between the smallest predicted
        score and its neighbour below, and is a number of the scores' own precision, so that
        ``score > threshold`` gives this very F1 in float32 as in float64. It is 1 where nothing
        is best predicted, and -1 where everything is and a score is 0.

        Raises:
            UserError: there is no image.
        """
        if not self._kept.rows:
            raise UserError("a threshold cannot be tuned on no images")
        if not self._kept.whole:
            self._kept.settle()
            f1 = self._grid.f1()
            j = _last_best(f1)
            return float(self._grid.edges[j]), float(f1[j])
        # Predicting one more wrong label never helps: the best set ends with a right one.
        right = np.unique(
            np.concatenate([b[~(np.signbit(b) | np.isnan(b))] for b in self._kept.blocks()])
        )
        just_below = np.nextafter(right, right.dtype.type(-1))
        f1 = self._tally(np.append(just_below, right.dtype.type(1))).f1()
        j = _last_best(f1)
        threshold = 1.0 if j == len(right) else self._midway_below(right[j])
        return threshold, float(f1[j])

    def _midway_below(self, score: np.floating[Any]) -> float:
        """Between a score and the next smaller one, or 0; exact in the scores' precision."""
        if score == 0:
            return -1.0
        sizes = (np.abs(block) for block in self._kept.blocks())
        below = max(np.max(size, initial=0, where=size < score) for size in sizes)
        middle = score.dtype.type(below + (score - below) / 2)
        return float(below if middle >= score else middle)

    def _look(self, thresholds: ArrayLike) -> tuple[_Tally, NDArray[np.intp]]:
        """A tally, and the places of ``thresholds`` among its edges."""
        wanted = np.asarray(thresholds, self._kept.dtype)
        if self._kept.whole:
            edges = np.unique(wanted)
            return self._tally(edges), np.asarray(np.searchsorted(edges, wanted))
        self._kept.settle()
        edges = self._grid.edges
        middles = (edges[1:] + edges[:-1]) / 2
        return self._grid, np.asarray(np.searchsorted(middles, wanted))

    def _tally(self, edges: Packed) -> _Tally:
        tally = _Tally(edges)
        for block in self._kept.blocks():
            tally.add(block)
        return tally


class _Tally:
    """Changes of F1, and predictions, summed between ascending thresholds ``edges`` (E,)."""

    def __init__(self, edges: Packed) -> None:
        self.edges = edges
        self.n = 0
        self.true = 0
        self._empty = 0
        self._change = np.zeros(len(edges) + 1)
        self._predicted = np.zeros(len(edges) + 1, np.int64)

    def add(self, packed: Packed) -> None:
        """Add (B, C) packed rows; unknown entries change nothing."""
        unknown = np.isnan(packed)
        if unknown.any():
            # As absent ones of score 0 they stand last, where they can be left out.
            packed = np.where(unknown, packed.dtype.type(-0.0), packed)
        keys = np.sort(sort_keys(packed), axis=1)[:, ::-1]
        hits = np.cumsum(keys & 1, axis=1, dtype=np.float64)
        true = hits[:, -1]
        change = 2 * hits / (np.arange(1, keys.shape[1] + 1) + true[:, None])
        change[:, 1:] -= change[:, :-1].copy()
        change[:, 0] -= true == 0  # an empty image starts at F1 = 1 and loses it
        cell = np.searchsorted(self.edges, key_scores(keys).ravel())  # edges strictly below
        if unknown.any():
            counted = np.arange(keys.shape[1]) < (~unknown).sum(axis=1)[:, None]
            cell, change = cell[counted.ravel()], change[counted]
        self._change += np.bincount(cell, change.ravel(), minlength=len(self._change))
        self._predicted += np.bincount(cell, minlength=len(self._change))
        self.n += len(packed)
        self.true += int(true.sum())
        self._empty += int(np.count_nonzero(true == 0))

    def f1(self) -> NDArray[np.float64]:
        """(E,) the mean F1 at each edge."""
        if not self.n:
            return np.full(len(self.edges), np.nan)
        return (self._empty + _sums_above(self._change)) / self.n

    def predictions(self) -> NDArray[np.int64]:
        """(E,) the number of scores above each edge."""
        return _sums_above(self._predicted)


def _sums_above(cells: NDArray[Any]) -> NDArray[Any]:
    return np.cumsum(cells[:0:-1])[::-1]


def _last_best(f1: NDArray[np.float64]) -> int:
    return int(np.flatnonzero(f1 >= f1.max() - _EQUAL)[-1])


def _grid() -> NDArray[np.float32]:
    logits = np.linspace(-24, 24, 4_801)
    edges = np.concatenate([[-1, 0, 1], 1 / (1 + np.exp(-logits)), np.arange(1, 100) / 100])
    return np.unique(edges.astype(np.float32))
