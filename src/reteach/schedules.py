"""Schedules: step -> float. Functions of the step alone, so a resumed run needs no state of theirs.

They are frozen dataclasses: their ``repr`` names every setting and is part of a run's fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import final

from .recorded import recorded

Schedule = Callable[[int], float]


def linear_scaling(rate: float, batch_size: int, base: int = 256) -> float:
    """The linear scaling rule: a rate stated per ``base`` images, for another batch size."""
    return rate * batch_size / base


@final
@recorded("constant")
@dataclass(frozen=True)
class Constant:
    """The same rate at every step."""

    rate: float

    def __call__(self, step: int) -> float:
        return self.rate


@final
@recorded("cosine")
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
@recorded("drops")
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
@recorded("drop")
@dataclass(frozen=True)
class Drop:
    """``peak`` up to step ``at``, from then on ``peak`` times ``factor``."""

    peak: float
    at: int
    factor: float = 0.1

    def __call__(self, step: int) -> float:
        return self.peak if step < self.at else self.peak * self.factor


@final
@recorded("multistep")
@dataclass(frozen=True)
class MultiStep:
    """``peak`` times ``factor`` for each of ``milestones`` that has come; PyTorch's ``MultiStepLR``."""

    peak: float
    milestones: tuple[int, ...]
    factor: float = 0.1

    def __call__(self, step: int) -> float:
        return self.peak * float(self.factor ** sum(at <= step for at in self.milestones))


@final
@recorded("warmup")
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


@final
@dataclass(frozen=True)
class Turn:
    """Whose step it is in :class:`Cycles`.

    Args:
        cycle: counted from 0.
        first: whether it is the first side's.
        number: steps that this side has had before, in all cycles.
        begins: whether it is the side's first step in this cycle.
    """

    cycle: int
    first: bool
    number: int
    begins: bool


@final
@recorded("cycles")
@dataclass(frozen=True)
class Cycles:
    """Two sides that take turns: step -> whose turn it is, in each cycle first the one, then the other.

    ``count`` whole cycles fill ``steps`` steps, of which the second side has ``second``. Where these do not
    divide, the turns of a side differ by a step or two. After ``steps`` it all goes on alike.
    """

    steps: int
    count: int
    second: int

    @staticmethod
    def of(k_first: int, k_second: int) -> Cycles:
        """Cycles of ``k_first`` steps and then ``k_second``, however many."""
        return Cycles(k_first + k_second, 1, k_second)

    def begin(self, cycle: int) -> tuple[int, int]:
        """The steps of the first and of the second side before a cycle."""
        second = cycle * self.second // self.count
        return cycle * self.steps // self.count - second, second

    def before(self, step: int) -> tuple[int, int]:
        """The steps of the first and of the second side before ``step``."""
        cycle = self.cycle(step)
        (first, second), end = self.begin(cycle), self.begin(cycle + 1)[0]
        done = step - first - second
        return first + min(done, end - first), second + max(0, done - (end - first))

    def cycle(self, step: int) -> int:
        """The cycle that a step belongs to."""
        return ((step + 1) * self.count - 1) // self.steps

    def __call__(self, step: int) -> Turn:
        cycle = self.cycle(step)
        begun, done, end = self.begin(cycle), self.before(step), self.begin(cycle + 1)
        side = 0 if done[0] < end[0] else 1
        return Turn(cycle, side == 0, done[side], done[side] == begun[side])


@final
@recorded("by-epoch")
@dataclass(frozen=True)
class ByEpoch:
    """A function of the epoch as a schedule: step -> ``of`` (the number of finished passes).

    Args:
        images: in a pass.
        batch_size: images per step, over all processes.
    """

    of: Callable[[float], float]
    images: int
    batch_size: int

    def __call__(self, step: int) -> float:
        return self.of(step * self.batch_size // self.images)


@final
@recorded("every-epoch")
@dataclass(frozen=True)
class EveryEpoch:
    """Due before the steps ``first``, ``first`` + ``every``, …"""

    first: int
    every: int

    def due(self, step: int) -> bool:
        """Whether something is to be done before this step."""
        return step >= self.first and (step - self.first) % self.every == 0
