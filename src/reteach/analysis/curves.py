"""Precision and recall of raters, experts, labels and consensus against gold (ReaL, Figure 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .intervals import bootstrap

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Curve:
    """What keeping ``score ≥ threshold`` gives, one point per distinct score, the highest first."""

    threshold: Floats
    precision: Floats
    recall: Floats


@dataclass(frozen=True)
class Point:
    """One way to label the gold pairs."""

    precision: float
    recall: float


@dataclass(frozen=True)
class OperatingPoint(Point):
    """A point on the curve with 95% bootstrap intervals, images being drawn."""

    threshold: float
    precision_interval: tuple[float, float]
    recall_interval: tuple[float, float]


def curve(score: Floats, truth: Mask) -> Curve:
    """The precision–recall curve of P gold pairs.

    Args:
        score: (P,)
        truth: (P,) at least one is true.
    """
    if not truth.any():
        raise UserError("no golden pair is true, so recall is not defined")
    order = np.argsort(-score, kind="stable")
    hits, kept = np.cumsum(truth[order]), np.arange(1, len(order) + 1)
    last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # of equal scores
    return Curve(score[order][last], hits[last] / kept[last], hits[last] / int(truth.sum()))


def point(kept: Mask, truth: Mask) -> Point:
    """Precision and recall of the kept pairs; the precision of nothing is NaN."""
    hits = int((kept & truth).sum())
    n = int(kept.sum())
    return Point(hits / n if n else float("nan"), hits / max(int(truth.sum()), 1))


def threshold_for(
    score: Floats, truth: Mask, *, precision: float | None = None, recall: float | None = None
) -> float:
    """The threshold of an operating point asked for by precision or by recall.

    Args:
        precision: the highest recall is taken among points at least so precise.
        recall: the highest precision is taken among points of at least this recall.

    Raises:
        UserError: no point of the curve is like that.
    """
    if (precision is None) == (recall is None):
        raise ValueError("ask for either a precision or a recall")
    found = curve(score, truth)
    if precision is not None:
        fits = np.flatnonzero(found.precision >= precision)
        rank = found.recall
        what = f"precision of {precision:.1%}: the highest is {found.precision.max():.1%}"
    else:
        fits = np.flatnonzero(found.recall >= (recall or 0.0))
        rank = found.precision
        what = f"recall of {recall:.1%}"
    if not len(fits):
        raise UserError(f"no threshold reaches a {what} on the golden pairs")
    best = fits[rank[fits] == rank[fits].max()]
    return float(found.threshold[best[0]])


def operating_point(
    score: Floats,
    truth: Mask,
    image: NDArray[np.int64],
    threshold: float,
    *,
    rounds: int = 1000,
    seed: int = 0,
) -> OperatingPoint:
    """Precision and recall of ``score ≥ threshold`` on P gold pairs, with intervals.

    Args:
        image: (P,) the image of each pair: all its pairs are drawn together.
    """
    kept = score >= threshold

    def statistic(weight: Floats) -> Floats:
        hits = weight[kept & truth].sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.array([hits / weight[kept].sum(), hits / weight[truth].sum()])

    low, high = bootstrap(image, statistic, rounds=rounds, seed=seed)
    at = point(kept, truth)
    return OperatingPoint(
        at.precision,
        at.recall,
        threshold,
        (float(low[0]), float(high[0])),
        (float(low[1]), float(high[1])),
    )
