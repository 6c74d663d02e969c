"""Schedules: step -> float. Functions of the step alone, so a resumed run needs no state of theirs.

They are frozen dataclasses: their ``repr`` names every setting and is part of a run's fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import final

Schedule = Callable[[int], float]


def linear_scaling(rate: float, batch_size: int, base: int = 256) -> float:
    """The linear scaling rule: a rate stated per ``base`` images, for another batch size."""
    return rate * batch_size / base


@final
@dataclass(frozen=True)
class Constant:
    """The same rate at every step."""

    rate: float

    def __call__(self, step: int) -> float:
        return self.rate


@final
@dataclass(frozen=True)
class Cosine:
    """From ``peak`` at step 0 down to ``floor`` at ``steps`` along half a cosine."""

    peak: float
    steps: int
    floor: float = 0.0

    def __call__(self, step: int) -> float:
        progress = min(step, self.steps) / max(self.steps, 1)
        return self.floor + (self.peak - self.floor) * (1 + cos(pi * progress)) / 2


@final
@dataclass(frozen=True)
class Drops:
    """``peak`` times ``factor`` for each of ``count`` equally spaced drops within ``steps``.

    ``count=13, factor=0.5`` are the 13 halvings of billion-scale pretraining, ``count=3,
    factor=0.1`` its fine-tuning: the training is cut into ``count + 1`` equal parts.
    """

    peak: float
    steps: int
    count: int
    factor: float = 0.1

    def __call__(self, step: int) -> float:
        part = min(step * (self.count + 1) // max(self.steps, 1), self.count)
        return self.peak * float(self.factor**part)


@final
@dataclass(frozen=True)
class Drop:
    """``peak`` up to step ``at``, from then on ``peak`` times ``factor``."""

    peak: float
    at: int
    factor: float = 0.1

    def __call__(self, step: int) -> float:
        return self.peak if step < self.at else self.peak * self.factor


@final
@dataclass(frozen=True)
class Warmup:
    """Linear from ``start`` to ``then(steps)`` over the first ``steps`` steps, ``then`` after them.

    ``then`` is counted from step 0 of the training, not from the end of the warm-up.
    """

    then: Schedule
    steps: int
    start: float = 0.0

    def __call__(self, step: int) -> float:
        if step >= self.steps:
            return self.then(step)
        return self.start + (self.then(self.steps) - self.start) * (step + 1) / (self.steps + 1)
