"""ROLE — regularised online label estimation (Cole et al., CVPR 2021, Section 4.3; see
``assume_negative``).

The network and an estimate of every label of every training image learn from each other: with p the
network's probabilities and q the estimates, each held constant in the other's loss,

    L_network  = BCE(p; q) - 1/C Σ_c y_c log p_c + R(p)
    L_estimate = BCE(q; p) - 1/C Σ_c y_c log q_c + R(q)

and half the sum is minimised, R being the regulariser of ``expected_positive``. The estimates are N × C
free logits, which begin uniform in ±logit 0.6, the named ones at logit 0.995.

* *Two optimisers.* The gradients are disjoint, so the two losses are stepped separately; the ½ stays.
* *Rate of the estimates.* Adam at a constant 0.01, ten times the customary 0.001, as in the authors' code.
* *Memory.* Estimates and Adam's two moments: 12 bytes for each of N × C.
* *Several processes.* Each estimates the labels of its own part of a batch; the gradients are shared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn

from .. import rng
from ..data.loading.batch import Batch
from ..engine import distributed
from ..engine.algorithm import Algorithm
from ..engine.learner import Learner, Predictor
from ..engine.run import Run
from ..errors import UserError
from ..losses.partial import expected_positives, named_only
from ..losses.standard import sigmoid_bce
from ..recorded import recorded
from ..schedules import Constant

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import RoleOptions as Options


@final
@recorded("role-estimates")
class Estimates(nn.Module):
    """Free logits for every class of every image.

    Args:
        named: (N, C) bool, the classes that are known to be present.
        seed: of the beginning.
    """

    def __init__(self, named: Tensor, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        begin = (2 * torch.rand(named.shape, generator=generator) - 1) * math.log(0.6 / 0.4)
        begin[named] = math.log(0.995 / 0.005)
        self.logits = nn.Parameter(begin)

    def forward(self, rows: Tensor) -> Tensor:
        """(B,) rows to logits (B, C)."""
        return self.logits[rows]


@final
@recorded("role")
@dataclass(eq=False)
class Role(Algorithm):
    """A network and label estimates that teach each other.

    Args:
        learner: the network.
        estimates: a learner of :class:`Estimates`.
        expected: k, classes per image.
    """

    learner: Learner
    estimates: Learner
    expected: float

    def step(self, batch: Batch) -> dict[str, Tensor]:
        network, estimated = self.learner(batch.x), self.estimates(batch.rows)
        loss = self._loss(network, estimated, batch)
        own = self._loss(estimated, network, batch)
        self.learner.update(loss, batch)
        self.estimates.update(own, batch)
        return {"loss": loss.detach(), "estimate_loss": own.detach()}

    def _loss(self, logits: Tensor, other: Tensor, batch: Batch) -> Tensor:
        """Half the loss of one side, the other being constant."""
        cross = sigmoid_bce(logits, other.detach().float().sigmoid())
        each = batch.mean(cross + named_only(logits, batch.y))
        return 0.5 * (each + self._regulariser(logits, batch))

    def _regulariser(self, logits: Tensor, batch: Batch) -> Tensor:
        """R, of the whole batch."""
        everyone = distributed.whole_batch(logits)
        return expected_positives(everyone, self.expected, distributed.gather(batch.readable))

    def predictors(self) -> dict[str, Predictor]:
        return {"model": self.learner.predictor("sigmoid")}


@recorded("train-role")
def train(setup: Setup, options: Options, run: Run) -> Role:
    """ROLE on the labelled images."""
    labels = setup.train.labels
    if options.expected is None:
        raise UserError(
            "role has to know how many classes an image holds: --expected 2.5, say "
            "(reteach calibrate estimates it)"
        )
    if not 0 < options.expected <= labels.num_classes:
        raise UserError(f"--expected must lie in (0, {labels.num_classes}], got {options.expected}")
    named = torch.from_numpy(labels.present())
    estimates = Estimates(named, rng.fold(setup.seed, "estimates")).to(setup.device)
    optimizer = torch.optim.Adam(estimates.parameters(), lr=options.estimates_lr)
    side = Learner(estimates, optimizer, Constant(options.estimates_lr))
    algorithm = Role(setup.learner(), side, options.expected)
    return run.train("train", algorithm, setup.stream(), **setup.budget())
