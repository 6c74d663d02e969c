"""Assume negative: what is not named is absent, said less firmly (Cole, Mac Aodha, Lorieul, Perona,
Morris, Jojic; *Multi-Label Learning from Single Positive Labels*, CVPR 2021, Section 4.1).

Plain *assume negative* is :func:`reteach.methods.supervised.train_sigmoid`. Two milder forms:

* *with label smoothing* (AN-LS): every target moves by ε towards its opposite, y ← (1 - ε) y + ε (1 - y).
  The paper writes ε/2 with ε = 0.1; its code takes 0.1 as the whole move, and so do we. This is not the
  smoothing of softmax (:func:`reteach.losses.standard.smooth`), which keeps the sum of the row.
* *weak* (WAN): the C - 1 unnamed classes weigh 1/(C - 1) each, so that together they weigh as much as the
  named one.

ε = 0, and WAN with two classes, are the sigmoid baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from torch import Tensor
from torch.nn import functional as F

from ..engine.run import Run
from ..losses.standard import sigmoid_bce
from ..recorded import recorded
from .supervised import Supervised

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import AnLsOptions, WanOptions


@final
@recorded("smoothed-negatives")
@dataclass(frozen=True)
class Smoothed:
    """Binary cross-entropy with each target moved by ``amount`` towards its opposite, (B,)."""

    amount: float

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return sigmoid_bce(logits, targets + self.amount * (1 - 2 * targets))


@recorded("weak-negatives")
def weak(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy in which the unnamed classes weigh 1/(C - 1), averaged over C, (B,)."""
    z = logits.float()
    absent = (1 - targets) * F.softplus(z) / max(1, logits.shape[-1] - 1)
    return (targets * F.softplus(-z) + absent).mean(-1)


@recorded("train-an-ls")
def train_smoothed(setup: Setup, options: AnLsOptions, run: Run) -> Supervised:
    """Assume negative with label smoothing."""
    algorithm = Supervised(setup.learner(), Smoothed(options.smoothing), "sigmoid")
    return run.train("train", algorithm, setup.stream(), **setup.budget())


@recorded("train-wan")
def train_weak(setup: Setup, options: WanOptions, run: Run) -> Supervised:
    """Weak assume negative."""
    algorithm = Supervised(setup.learner(), weak, "sigmoid")
    return run.train("train", algorithm, setup.stream(), **setup.budget())
