"""Entropy maximisation with asymmetric pseudo-labelling (Zhou, Chen, Wang, Chen, Heng; *Acknowledging the
Unknown for Multi-label Learning with Single Positive Labels*, ECCV 2022).

A class that is not named is *unknown*: the network is asked to be undecided there (EM, their Eq. 6),

    L = 1/C Σ_c  { -log p_c  named;   -α H(p_c)  unknown;   β BCE(p_c; ỹ_c)  pseudo-negative }

with H the binary entropy. Undecided as a goal, the network still sinks slowly where nothing speaks for a
class. After a warm-up the unknown labels with the lowest scores of each class become pseudo-negatives with
the score itself as their soft label ỹ (APL): in R rounds, θ/R of a class's unknown labels each. Positive
pseudo-labels are not made, because they are wrong too often.

* *Rounds.* The authors label after each epoch from the W-th on, of 10. Here R rounds are spread equally
  over the steps after the warm-up, so that a training of any number of epochs has the same share of them.
* *Which labels.* As in their code the θ/R are taken of the labels that are still unknown, ties in order.
* *α, β* were tuned by the authors for each data set (α 0.01 to 0.2, β 0.02 to 0.9); the defaults are those
  for COCO but for β, the middle of their range.

The scores of a round come from one un-augmented pass over the training images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.loading.batch import Batch
from ..data.loading.stream import Scan
from ..engine.algorithm import Algorithm
from ..engine.evaluate import outputs
from ..engine.learner import Learner, Predictor
from ..engine.run import Run
from ..losses.partial import entropy
from ..options.shared import refuse_unused
from ..recorded import recorded

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import EmAplOptions

UNKNOWN = -1.0


@final
@recorded("pseudo-label-rounds")
@dataclass(frozen=True)
class Rounds:
    """When labels are made: ``count`` times, equally spaced from step ``first`` to ``total``."""

    first: int
    total: int
    count: int

    def due(self, step: int) -> bool:
        """Whether a round comes before this step."""
        return self._begun(step) > self._begun(step - 1)

    def _begun(self, step: int) -> int:
        """Rounds that have begun by this step."""
        if step < self.first or not self.count:
            return 0
        return (step - self.first) * self.count // max(1, self.total - self.first) + 1


@final
@recorded("entropy-maximisation")
@dataclass(eq=False)
class EntropyMaximisation(Algorithm):
    """EM with APL.

    Args:
        learner: the model.
        memory: (N, C) :data:`UNKNOWN`, or the soft label of a pseudo-negative.
        images: all training images, to be scored in each round.
        rounds: when pseudo-labels are made.
        share: θ/R, of a class's first unknown labels in each round.
        alpha, beta: weights of the unknown labels and of the pseudo-negatives.
    """

    learner: Learner
    memory: Tensor
    images: Scan
    rounds: Rounds
    share: float
    alpha: float = 0.1
    beta: float = 0.2

    def step(self, batch: Batch) -> dict[str, Tensor]:
        if batch.part == 0 and self.rounds.due(batch.step):
            self._label()
        soft = self.memory[batch.rows]
        logits = self.learner(batch.x)
        loss = batch.mean(em_apl(logits, batch.y, soft, self.alpha, self.beta))
        self.learner.update(loss, batch)
        return {"loss": loss.detach(), "pseudo_negatives": (soft >= 0).float().sum(-1).mean()}

    def _label(self) -> None:
        """A round: the lowest scores of each class among the labels that are still unknown."""
        memory = self.memory
        scores = torch.ones_like(memory)  # an image that cannot be read is the last to be chosen
        for rows, found in outputs(lambda x: self.learner.infer(x).sigmoid(), self.images):
            scores[torch.from_numpy(rows).to(memory.device)] = found.to(memory.device)
        named = torch.from_numpy(self.images.dataset.labels.present()).to(memory.device)
        free = (memory < 0) & ~named
        for c, n in enumerate((self.share * (~named).sum(0)).long().tolist()):
            order = scores[:, c].masked_fill(~free[:, c], torch.inf).argsort(stable=True)
            lowest = order[: min(n, int(free[:, c].sum()))]
            memory[lowest, c] = scores[lowest, c]

    def predictors(self) -> dict[str, Predictor]:
        return {"model": self.learner.predictor("sigmoid")}


def em_apl(logits: Tensor, named: Tensor, soft: Tensor, alpha: float, beta: float) -> Tensor:
    """The loss per example (B,).

    Args:
        logits: (B, C).
        named: (B, C) 1 where a class is named.
        soft: (B, C) soft labels of pseudo-negatives, negative where the label is unknown.
    """
    z = logits.float()
    positive = F.softplus(-z)
    pseudo = beta * F.binary_cross_entropy_with_logits(z, soft.clamp_min(0), reduction="none")
    unknown = torch.where(soft >= 0, pseudo, -alpha * entropy(z))
    return torch.where(named > 0, positive, unknown).mean(-1)


@recorded("train-em-apl")
def train(setup: Setup, options: EmAplOptions, run: Run) -> EntropyMaximisation:
    """EM with APL on the labelled images; without rounds, EM alone."""
    if options.rounds == 0:
        why = "with --rounds 0: there are no pseudo-negatives"
        refuse_unused(options, why, "beta", "negatives", "undecided")
    elif options.negatives == 0:
        why = "with --negatives 0: there are no pseudo-negatives"
        refuse_unused(options, why, "beta", "undecided", "rounds")
    labels = setup.train.labels
    algorithm = EntropyMaximisation(
        setup.learner(),
        torch.full((len(labels), labels.num_classes), UNKNOWN, device=setup.device),
        setup.scan(setup.train),
        Rounds(round(options.undecided * setup.total), setup.total, options.rounds),
        options.negatives / max(1, options.rounds),
        options.alpha,
        options.beta,
    )
    return run.train("train", algorithm, setup.stream(), **setup.budget())
