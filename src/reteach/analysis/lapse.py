"""The share of labels that are wrong even where a held-out model is surest, with its uncertainty.

A psychometric curve with lapses: at the margin s (log ratio of a model's first choice to its second) the
label agrees with the first choice with probability (1 - lapse) · sigmoid(a + b · s). The sigmoid is what the
model gets right, and goes to 1; what is missing above it are labels that contradict a model that does not
err. Unlike anchors, the few surest images, it uses all of them, and a model that never is sure gives a wide
interval. Fitted by maximum likelihood; the interval is that of the profile likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..labels import Rows

STEP = 0.01
_MOST = 0.8
_STEPS = 200
Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Lapse:
    """The share of contradicted labels where the model does not err.

    Args:
        value: one standard error above the most likely one. Where contradictions are as frequent at all
            margins, any share of them may be lapses, and all are taken for it.
        low, high: 95% by the profile likelihood.
    """

    value: float
    low: float
    high: float


def lapse(scores: NDArray[np.float32], given: Rows) -> Lapse:
    """The lapse of held-out probabilities (N, C) beside the labels (N,)."""
    top = np.log(np.maximum(np.sort(scores.astype(np.float64), axis=1)[:, -2:], 1e-30))
    margin, agrees = top[:, 1] - top[:, 0], scores.argmax(1) == given
    grid = np.arange(0, _MOST, STEP)
    curve = np.zeros(2)
    losses = np.empty(len(grid))
    for at, share in enumerate(grid):
        losses[at], curve = _fitted(margin, agrees, float(share), curve)
    near, inside = (np.flatnonzero(losses <= losses.min() + drop) for drop in (0.5, 1.92))
    return Lapse(*(float(grid[at]) for at in (near[-1], inside[0], inside[-1])))


def _fitted(
    margin: Floats, agrees: NDArray[np.bool_], share: float, start: Floats
) -> tuple[float, Floats]:
    """The least negative log likelihood for a lapse, and its (a, b), b not below 0."""
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(curve: Floats) -> tuple[float, Floats]:
        right = expit(curve[0] + curve[1] * margin)
        p = np.clip((1 - share) * right, 1e-9, 1 - 1e-9)
        slope = np.where(agrees, -1 / p, 1 / (1 - p)) * (1 - share) * right * (1 - right)
        value = -np.log(np.where(agrees, p, 1 - p)).sum()
        return float(value), np.array([slope.sum(), (slope * margin).sum()])

    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-20, 20), (0, 20)],
        options={"maxiter": _STEPS},
    )
    return float(found.fun), np.asarray(found.x)
