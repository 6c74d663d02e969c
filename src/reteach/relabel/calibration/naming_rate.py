"""Presence in proportion to the rate of being named, for a known number of classes per image.

If an image is named after one of its classes, each equally likely, then P(present) = λ P(named): of k classes
per image each is named with 1/k. The rate of being named is a logistic function of the logit,
σ(a z + b), fitted to which scores were the label (Platt 1999); λ is such that the mean sum of

    P(present | z) = min(1, λ σ(a z + b))

over the classes of an image is the number that is known. Where some present classes are named much more often
than others (the main object), it is too high for these and too low for the rest; :mod:`.mixture` models that,
and needs scores that tell the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from .logit_histogram import NAMED, UNNAMED
from .mixture import Numbers

_LEAST_SLOPE = 0.05
"""Of a: presence rises with the score, whatever few labels say."""
_ROUNDS = 100


@final
@dataclass(frozen=True)
class NamingRate:
    """P(present | z) = min(1, factor · σ(slope · z + offset)).

    Args:
        factor: λ, classes per image as far as none is certain.
    """

    slope: float
    offset: float
    factor: float

    def __call__(self, z: Numbers) -> Numbers:
        """The probability of presence at log-odds of being named (G,)."""
        return np.minimum(1.0, self.factor * self.named(z))

    def named(self, z: Numbers) -> Numbers:
        """The rate of being named (G,)."""
        return _sigmoid(self.slope * z + self.offset)


def naming_rate(z: Numbers, counts: Numbers, labels: float) -> NamingRate:
    """Fit to counts (3, G) by kind; ``labels`` of all the scores are those of present classes."""
    slope, offset = _logistic(z, counts[NAMED], counts[UNNAMED])
    rate, total = _sigmoid(slope * z + offset), counts.sum(0)
    low, high = 1e-6, 1 / rate[total > 0].min()
    for _ in range(_ROUNDS):
        factor = (low * high) ** 0.5
        few = (total * np.minimum(1.0, factor * rate)).sum() < labels
        low, high = (factor, high) if few else (low, factor)
    return NamingRate(slope, offset, float(factor))


def _logistic(z: Numbers, named: Numbers, other: Numbers) -> tuple[float, float]:
    """Slope and offset of the likeliest logistic curve of counts (G,), by Newton's method."""
    seen = named + other
    slope, offset = 1.0, 0.0
    for _ in range(_ROUNDS):
        p = _sigmoid(slope * z + offset)
        weight, wrong = seen * p * (1 - p) + 1e-12, named - seen * p
        a, b, c = (weight * z * z).sum(), (weight * z).sum(), weight.sum()
        d, e = (wrong * z).sum(), wrong.sum()
        det = a * c - b * b
        step = np.clip(np.array([c * d - b * e, a * e - b * d]) / det, -1, 1)
        if slope + step[0] < _LEAST_SLOPE:
            step = np.array([_LEAST_SLOPE - slope, np.clip(e / c, -1, 1)])
        slope, offset = slope + step[0], offset + step[1]
        if np.abs(step).max() < 1e-9:
            break
    return float(slope), float(offset)


def _sigmoid(x: Numbers) -> Numbers:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))))
