"""What every metric takes: a batch of probabilities and of label sets, checked once, in one way.

``scores`` (B, C) are probabilities: the softmax or sigmoid has been applied. ``truth`` (B, C) is
boolean, multi-hot; a single label is one-hot. ``known`` (B, C), where a metric takes it, says which
entries count: *unknown* is not *absent*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError

Scores = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

# A softmax or a mean of probabilities may end a few roundings above one.
_ROUNDING = 1e-5


def check(scores: ArrayLike, truth: ArrayLike, classes: Sequence[str] = ()) -> tuple[Scores, Mask]:
    """The batch as arrays: float32 or float64 in [0, 1], and bool.

    ``classes`` (C,) names the classes in error messages.

    Raises:
        UserError: shapes that differ, scores that are not finite, scores outside [0, 1].
        ValueError: ``truth`` is not boolean; which weight would count as present?
    """
    values, present = np.asarray(scores), np.asarray(truth)
    if present.dtype != np.bool_:
        raise ValueError(f"truth must be boolean (B, C), got {present.dtype}")
    if values.ndim != 2 or values.shape != present.shape:
        raise UserError(
            f"scores and truth must both be (B, C), got {values.shape} and {present.shape}"
        )
    if classes and values.shape[1] != len(classes):
        raise UserError(f"the scores have {values.shape[1]} columns for {len(classes)} classes")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    if not values.size:
        return values, present
    low, high = values.min(), values.max()  # either is NaN where a single score is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UserError(_not_finite(values, classes))
    if low < 0 or high > 1 + _ROUNDING:
        raise UserError(
            f"scores must be probabilities in [0, 1], got {low:.6g} to {high:.6g}: "
            "apply the softmax or sigmoid first"
        )
    return (np.minimum(values, 1) if high > 1 else values), present


def check_known(known: ArrayLike | None, truth: Mask) -> Mask | None:
    """The mask of entries that count; ``None`` where all of them do.

    Raises:
        ValueError: not boolean, or not of the shape of ``truth``.
    """
    if known is None:
        return None
    mask = np.asarray(known)
    if mask.dtype != np.bool_ or mask.shape != truth.shape:
        raise ValueError(
            f"known must be boolean {truth.shape}, got {mask.dtype} of shape {mask.shape}"
        )
    return mask


def above(scores: Scores, threshold: float) -> Mask:
    """(B, C) where a class is predicted: ``score > threshold``.

    The threshold is rounded to the scores' own precision first, as NumPy 2 and PyTorch do.
    """
    return np.asarray(scores > scores.dtype.type(threshold))


def ratio(numerator: float, denominator: float) -> float:
    """Their quotient, NaN where there was nothing to count."""
    return float(numerator) / float(denominator) if denominator else float("nan")


def _not_finite(scores: Scores, classes: Sequence[str]) -> str:
    bad = ~np.isfinite(scores)
    row, column = (int(i) for i in np.argwhere(bad)[0])
    where = repr(classes[column]) if classes else str(column)
    return (
        f"{int(bad.any(axis=1).sum())} of {len(scores)} rows have scores that are not finite "
        f"(first: row {row}, class {where}): the model has diverged"
    )
