"""ELR — early-learning regularisation (Liu, Niles-Weed, Razavian, Fernandez-Granda; NeurIPS 2020).

A network learns the right labels first and memorises the wrong ones later. ELR keeps for each image
the running mean t of what the network predicted early on, and holds later predictions p to it:

    t_i ← β t_i + (1 - β) p_i                                     (their Eq. 8)
    L   = CE + λ/B Σ_i log(1 - ⟨p_i, t_i⟩)                        (their Eq. 6)

β = 0.7 and λ = 3 are their CIFAR-10 settings; λ = 0 is plain softmax. As in the authors' code, p is
clipped to [1e-4, 1 - 1e-4], the clipped p is renormalised before it enters t, and t is updated before
the loss is taken. MILe's Table 1 compares with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from ..data.loading.batch import Batch
from ..engine import distributed
from ..engine.algorithm import Algorithm
from ..engine.learner import Learner, Predictor
from ..engine.run import Run
from ..losses.standard import softmax_xent
from ..options.shared import refuse_unused
from ..recorded import recorded

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import ElrOptions as Options


@final
@recorded("elr")
@dataclass(eq=False)
class Elr(Algorithm):
    """Softmax cross-entropy, held to a memory of earlier predictions.

    Args:
        learner: the model.
        memory: t, (N, C) float32 on the device, zeros at the start; one row per image of the stream's
            data set: N·C·4 bytes.
        beta: β, how slowly t moves.
        lam: λ, the weight of the regulariser.
    """

    learner: Learner
    memory: Tensor
    beta: float = 0.7
    lam: float = 3.0

    def step(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.learner(batch.x)
        p = logits.float().softmax(-1).clamp(1e-4, 1 - 1e-4)
        fresh = p.detach() / p.detach().sum(-1, keepdim=True)
        rows, fresh = distributed.gather(batch.rows), distributed.gather(fresh)
        self.memory[rows] = self.beta * self.memory[rows] + (1 - self.beta) * fresh
        t = self.memory[batch.rows]
        xent = softmax_xent(logits, batch.y)
        loss = batch.mean(xent + self.lam * (1 - (p * t).sum(-1)).log())
        self.learner.update(loss, batch)
        return {"loss": loss.detach(), "cross_entropy": xent.detach().mean()}

    def predictors(self) -> dict[str, Predictor]:
        return {"model": self.learner.predictor("softmax")}


@recorded("train-elr")
def train(setup: Setup, options: Options, run: Run) -> Elr:
    """ELR on the labelled images."""
    if options.lam == 0:
        refuse_unused(options, "with --lam 0, which is plain softmax", "beta")
    stream = setup.stream()
    memory = torch.zeros(len(stream.dataset), stream.dataset.labels.num_classes)
    algorithm = Elr(setup.learner(), memory.to(setup.device), options.beta, options.lam)
    return run.train("train", algorithm, stream, **setup.budget())
