"""How much a rule drops beside what is known of the noise, and what to say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from ...labels import Rows
from .clean import (
    SURE,
    Keep,
    Scores,
    agreeing,
    anchored_noise,
    confident_noise,
    estimated_noise,
    least_noise,
)

HALF, MUCH, FAR = 0.4995, 0.3, 0.15
"""Share of the labels (what is shown as 50.0%) from which dropping them is always said aloud; share that is
much; distance from the estimated noise that is far."""


@final
@dataclass(frozen=True, kw_only=True)
class Balance:
    """How much a rule removes beside how much is estimated to be wrong.

    Args:
        labels: N, how many were judged.
        removed: share of the labels that the rule drops.
        noise: :func:`~.clean.estimated_noise`.
        confident: :func:`~.clean.confident_noise`, which a weak model makes too large.
        confirmed: share of the labels that are the model's first choice.
        chance: the share that would be, if the model always named the most frequent label.
        least: a lower bound of the noise, :func:`~.clean.least_noise`.
        surest: share of the labels that contradict the model among its 5% surest images.
        error: the standard error of ``surest``.
    """

    labels: int
    removed: float
    noise: float
    confident: float
    confirmed: float
    chance: float
    least: float
    surest: float
    error: float

    @property
    def warning(self) -> str | None:
        """What to say when nothing was learned, when much is dropped, or when too much or too little is.

        A model that contradicts half of the labels and more is as often wrong as right, or the labels are:
        scores cannot tell which, the less so the fewer they are.
        """
        if self.confirmed < self.chance + 0.05:
            return (
                f"the held-out models confirm {self.confirmed:.0%} of the labels, hardly more than "
                f"one that always names the most frequent ({self.chance:.0%}): what they drop means "
                "nothing. Train longer or use a better model"
            )
        if self._too_much():
            return (
                f"{self.removed:.0%} of the labels are dropped but only about "
                f"{max(self.noise, self.surest):.0%} are "
                "estimated to be wrong: the rule also drops what the model is bad at, and training "
                "on the rest may be worse than on all. Use a gentler rule or a better model"
            )
        if self.removed >= HALF:
            return (
                f"{self.removed:.1%} of the labels are dropped, half or more: a model this weak also drops "
                "what it is bad at. Look at the suspects, or judge by --truth, before you train on the "
                "rest; use a gentler rule or a better model"
            )
        beyond = self.removed - self.surest
        if beyond > max(FAR, 2 * self.error) and self.removed > 2 * self.surest:
            return (
                f"{self.removed:.0%} of the labels are dropped, but where the models are surest they "
                f"contradict {self.surest:.0%} only: perhaps most of what is dropped is right. "
                "Look at the suspects, use a gentler rule or a better model"
            )
        if self._too_weak():
            return (
                f"{self.removed:.0%} of the labels are dropped by models that confirm "
                f"{self.confirmed:.0%} only: scores cannot tell the errors of models this weak from wrong "
                "labels, and much of what is dropped may be right. Look at the suspects, judge by --truth, "
                "train longer or use a better model"
            )
        if self.noise - self.removed > 0.05 and self.noise > 1.5 * self.removed:
            return (
                f"only {self.removed:.0%} of the labels are dropped but about {self.noise:.0%} are "
                "estimated to be wrong: a stricter rule may clean better"
            )
        return None

    def _too_much(self) -> bool:
        """More than twice the noise: by 20 points, or by 5 and more than any estimate says.

        The noise is what is estimated, or what the models contradict where they are surest, if that is more.
        """
        noise = max(self.noise, self.surest)
        beyond = self.removed - noise
        many = beyond > 0.2 or self.removed > self.confident + 0.5 / self.labels
        return beyond > 0.05 and self.removed > 2 * noise and many

    def _too_weak(self) -> bool:
        """The model contradicts about half of the labels, and that is not what it says where it is surest."""
        contradicted = 1 - self.confirmed
        half = contradicted > 0.53 - self.labels**-0.5
        return (self.removed >= MUCH and half) or contradicted > max(0.5, 2 * self.surest)


def balance(scores: Scores, given: Rows, keep: Keep) -> Balance:
    """The removed share beside the estimates of the noise."""
    surest, error = anchored_noise(scores, given, SURE)
    return Balance(
        labels=len(given),
        removed=float(1 - keep.mean()),
        noise=estimated_noise(scores, given),
        confident=confident_noise(scores, given),
        confirmed=float(agreeing(scores, given).mean()),
        chance=float(np.bincount(given).max() / len(given)),
        least=least_noise(scores, given),
        surest=surest,
        error=error,
    )
