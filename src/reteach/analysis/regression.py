"""Logistic regression on frozen features, its regularisation chosen by cross-validation.

Billion-scale semi-supervised learning (Yalniz et al. 2019), Section 5.2, *fc-only*: "extracting features
[...] and training a logistic regressor". The paper says nothing of its regularisation or scaling: here
features are standardised, and the strength is that of a grid whose mean accuracy over stratified folds
of the training images is best (of equal ones the strongest). No other image has a say in it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from ..labels import Rows

if TYPE_CHECKING:
    from ..progress import Progress

Matrix = NDArray[np.float64]
GRID = tuple(10.0**power for power in range(-5, 3))
"""C, the inverse of the regularisation, from strong to weak."""
_NEVER = 50.0
"""A class that no image has stands so far below the others, in logits."""


@final
@dataclass(frozen=True, eq=False)
class Regression:
    """A linear classifier of features.

    Args:
        weight: (C, D).
        bias: (C,).
        strength: the C of the grid that was chosen.
        accuracy: of each C of the grid, over the folds.
    """

    weight: Matrix
    bias: Matrix
    strength: float
    accuracy: dict[float, float]

    def logits(self, x: NDArray[np.floating]) -> Matrix:
        """(N, D) features -> (N, C)."""
        return np.asarray(x @ self.weight.T + self.bias)


def logistic(
    x: NDArray[np.floating],
    y: Rows,
    classes: int,
    fold: Rows,
    on_progress: Progress,
    grid: Sequence[float] = GRID,
) -> Regression:
    """Choose the strength over the folds, then fit all images with it.

    Args:
        x: (N, D) features.
        y: (N,) class of each.
        fold: (N,) the fold of each, 0, 1 …
        on_progress: is told of each fit; there are ``len(grid) * folds + 1``.
        grid: rising.
    """
    folds = int(fold.max()) + 1
    right = np.zeros(len(grid))
    for number in range(folds):
        held = fold == number
        start = None
        for at, strength in enumerate(grid):
            start = _fit(x[~held], y[~held], classes, strength, start)
            right[at] += (start.logits(x[held]).argmax(-1) == y[held]).sum()
            on_progress(
                number * len(grid) + at + 1, f"fold {number + 1} of {folds}, C = {strength:g}"
            )
    accuracy = dict(zip(grid, (right / len(y)).tolist(), strict=True))
    strength = grid[int(np.argmax(right))]
    last = _fit(x, y, classes, strength, None)
    on_progress(folds * len(grid) + 1)
    return Regression(last.weight, last.bias, strength, accuracy)


def _fit(
    x: NDArray[np.floating], y: Rows, classes: int, strength: float, start: Regression | None
) -> Regression:
    """One fit, beginning where that of a neighbouring strength ended."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    scale[scale == 0] = 1
    standard = (x - mean) / scale
    model = LogisticRegression(C=strength, max_iter=500, warm_start=start is not None)
    met = np.unique(y)
    if start is not None:
        model.classes_ = met
        inner = start.weight[met] * scale
        offset = start.bias[met] + start.weight[met] @ mean
        if len(met) == 2:
            inner, offset = inner[1:] - inner[:1], offset[1:] - offset[:1]
        model.coef_, model.intercept_ = inner, offset
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # weak regularisation: close enough
        model.fit(standard, y)
    coef, bias = model.coef_, model.intercept_
    if len(met) == 2:  # one row, for the second class
        coef, bias = np.concatenate([-coef, coef]) / 2, np.concatenate([-bias, bias]) / 2
    weight = np.zeros((classes, x.shape[1]))
    whole = np.full(classes, bias.min() - _NEVER)
    weight[met] = coef / scale
    whole[met] = bias - weight[met] @ mean
    return Regression(weight, whole, strength, {})
