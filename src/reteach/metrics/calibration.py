"""Expected calibration error: how far confidence is from frequency.

ECE = Σ_b (n_b / n) · |frequency_b - mean confidence_b| over equal-width bins of the confidence
(Guo et al. 2017, "On calibration of modern neural networks"). Bin b holds [b, b + 1) / bins, the
last one also 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .batch import Mask, Scores, check, check_known, ratio


@dataclass(frozen=True)
class Reliability:
    """What a reliability diagram draws; ``edges`` (bins + 1,), the others (bins,).

    ``confidence`` (the mean score) and ``frequency`` (the share that is true) are NaN in an empty
    bin.
    """

    edges: NDArray[np.float64]
    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    frequency: NDArray[np.float64]


class _Bins:
    def __init__(self, bins: int = 15) -> None:
        if bins < 1:
            raise ValueError(f"calibration needs at least one bin, got {bins}")
        self._count = np.zeros(bins, np.int64)
        self._true = np.zeros(bins)
        self._score = np.zeros(bins)

    def _add(self, scores: Scores, true: Mask | NDArray[np.float64]) -> None:
        """Add one-dimensional scores and whether each came true, or how likely that was."""
        bins = len(self._count)
        at = np.minimum(scores * scores.dtype.type(bins), bins - 1).astype(np.int64)
        self._count += np.bincount(at, minlength=bins)
        self._true += np.bincount(at, true, bins)
        self._score += np.bincount(at, scores, minlength=bins)

    def compute(self) -> float:
        """The error in [0, 1]; NaN before the first score."""
        return ratio(float(np.abs(self._true - self._score).sum()), int(self._count.sum()))

    def reliability(self) -> Reliability:
        """The bins, for a reliability diagram."""
        with np.errstate(invalid="ignore"):
            confidence, frequency = self._score / self._count, self._true / self._count
        edges = np.linspace(0, 1, len(self._count) + 1)
        return Reliability(edges, self._count.copy(), confidence, frequency)


@final
class TopCalibration(_Bins):
    """Compares the largest score of each image with whether that class is among the image's labels.

    Images with an empty set are left out, as they are of accuracy.
    """

    def update(self, scores: ArrayLike, truth: ArrayLike) -> None:
        """Add a batch (B, C)."""
        values, present = check(scores, truth)
        rows = np.flatnonzero(present.any(axis=1))
        top = values.argmax(axis=1)[rows]
        self._add(values[rows, top], present[rows, top])


@final
class LabelCalibration(_Bins):
    """Takes every score as the probability that its class is present, all classes pooled.

    With many classes nearly all scores lie in the first bin: read the diagram beside the number.
    """

    def update(self, scores: ArrayLike, truth: ArrayLike, known: ArrayLike | None = None) -> None:
        """Add a batch (B, C); entries not ``known`` do not count."""
        values, present = check(scores, truth)
        mask = check_known(known, present)
        if mask is None:
            self._add(values.ravel(), present.ravel())
        else:
            self._add(values[mask], present[mask])


@final
class DoubtCalibration(_Bins):
    """Compares a model's probability with that of experts who may be unsure.

    ECE = Σ_b (n_b / n) · |mean of the experts' - mean of the model's| over bins of the model's.
    """

    def update(self, scores: ArrayLike, probability: ArrayLike) -> None:
        """Add a batch (B,) of both, in [0, 1]."""
        values, experts = np.asarray(scores), np.asarray(probability, np.float64)
        if values.ndim != 1 or values.shape != experts.shape:
            raise ValueError(f"scores {values.shape} beside probabilities {experts.shape}")
        for what, numbers in (("scores", values), ("probabilities", experts)):
            if not ((numbers >= 0) & (numbers <= 1)).all():
                raise ValueError(f"{what} must lie in [0, 1]")
        self._add(values, experts)
