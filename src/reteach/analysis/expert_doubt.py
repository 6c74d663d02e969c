"""A model's scores of two classes beside what experts said: a probability, where they were unsure too."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..metrics.calibration import DoubtCalibration, Reliability

BINS = 10
LEAST = 1e-6
"""Scores are held this far from 0 and 1 for the logarithm: one sure mistake must not outweigh all else."""
Probability = NDArray[np.float64]


@final
@dataclass(frozen=True)
class ExpertAgreement:
    """How N scores agree with the experts' probabilities.

    Args:
        accuracy: of score ≥ 0.5, on the items of which the experts were sure (0 or 1).
        auc: area under the ROC curve, on the same items; NaN with one class alone.
        brier: mean of (score - probability)², on all items.
        log_loss: mean of -p log s - (1 - p) log(1 - s), in nats, on all items.
        calibration_error: of :class:`~reteach.metrics.calibration.DoubtCalibration`, 10 bins, all items.
        mean_scores: at each of the experts' probabilities, from the lowest up.
    """

    accuracy: float
    auc: float
    brier: float
    log_loss: float
    calibration_error: float
    mean_scores: tuple[float, ...]


def agreement(scores: NDArray[Any], probability: Probability) -> ExpertAgreement:
    """Judge scores (N,) in [0, 1] of the second class by the experts' (N,)."""
    s, p = np.asarray(scores, np.float64), np.asarray(probability, np.float64)
    sure = is_sure(p)
    safe = s.clip(LEAST, 1 - LEAST)
    bins = DoubtCalibration(BINS)
    bins.update(s, p)
    return ExpertAgreement(
        float(((s >= 0.5) == (p >= 0.5))[sure].mean()) if sure.any() else float("nan"),
        _auc(s[sure], p[sure] >= 0.5),
        float(((s - p) ** 2).mean()),
        float(-(p * np.log(safe) + (1 - p) * np.log1p(-safe)).mean()),
        bins.compute(),
        tuple(float(s[p == level].mean()) for level in levels(p)),
    )


def reliability(scores: NDArray[Any], probability: Probability) -> Reliability:
    """The experts' mean probability in each bin of the scores (N,)."""
    bins = DoubtCalibration(BINS)
    bins.update(np.asarray(scores, np.float64), probability)
    return bins.reliability()


def levels(probability: Probability) -> list[float]:
    """The probabilities that experts gave, from the lowest up."""
    return [float(level) for level in np.unique(probability)]


def is_sure(probability: Probability) -> NDArray[np.bool_]:
    """(N,) where the experts said 0 or 1."""
    return np.asarray((probability == 0) | (probability == 1))


@final
@dataclass(frozen=True)
class Spread:
    """A number over several seeds; the deviation is that of a sample, 0 for a single one."""

    mean: float
    deviation: float
    values: tuple[float, ...]

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Mean and deviation of one value per seed."""
        apart = statistics.stdev(values) if len(values) > 1 else 0.0
        return Spread(statistics.fmean(values), apart, tuple(values))


@final
@dataclass(frozen=True)
class RuleFound:
    """A rule against the labels that were made wrong, over the seeds."""

    dropped: Spread
    precision: Spread
    recall: Spread
    f1: Spread


def _auc(scores: Probability, positive: NDArray[np.bool_]) -> float:
    if positive.all() or not positive.any():
        return float("nan")
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, scores))
