"""Precision and recall of raters, experts, labels and consensus against gold (ReaL, Figure 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .intervals import ratio_by_group

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
    """A point on the curve with 95% intervals over images."""

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
    score: Floats, truth: Mask, image: NDArray[np.int64], threshold: float
) -> OperatingPoint:
    """Precision and recall of ``score ≥ threshold`` on P gold pairs, with intervals.

    Args:
        score: (P,), or (D, P) for D draws of the votes, over which the kept pairs are averaged.
        image: (P,) the image of each pair: pairs of one image are not independent.
    """
    kept = (np.atleast_2d(score) >= threshold).mean(0)
    hits, true = kept * truth, truth.astype(np.float64)
    at = [
        (hits.sum() / n.sum() if n.sum() else float("nan"), ratio_by_group(hits, n, image))
        for n in (kept, true)
    ]
    return OperatingPoint(
        float(at[0][0]),
        float(at[1][0]),
        threshold,
        at[0][1],
        at[1][1],
    )
