"""Large losses matter (Kim, Kim, Akata, Lee; *Large Loss Matters in Weakly Supervised Multi-Label
Classification*, CVPR 2022).

Assume that what is not named is absent, and look at where that hurts: a network that has begun to learn
finds the wrongly assumed negatives *surprising* before it memorises them. Of the unnamed labels of a batch
those with the largest losses, a share that rises through the training, are

* *rejected* (LL-R): they add nothing;
* *corrected* (LL-Ct): they count as present, this time;
* *corrected for good* (LL-Cp): they are present from now on. Here the share is the same in every batch.

* *The share.* The authors let it rise by Δrel with each epoch after the first, 0.1% to 0.5% of the B × C
  labels, tuned for each data set. Here it rises linearly over all steps to ``share``; for good, each visit
  of an image gives ``share`` divided by the number of epochs, from the second epoch on.
* *How many.* The k largest, k = ⌈share · B · C⌉; the authors take all that equal the k-th as well, among
  them, when there are few unnamed labels with a loss, every label with the loss 0.

A share of 0 is the sigmoid baseline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.loading.batch import Batch
from ..engine import distributed
from ..engine.algorithm import Algorithm
from ..engine.learner import Learner, Predictor
from ..engine.run import Run
from ..options.shared import refuse_unused
from ..recorded import recorded
from ..schedules import Schedule

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import LargeLossOptions as Options

Surprise = Literal["reject", "correct", "permanent"]


@final
@recorded("rising-share")
@dataclass(frozen=True)
class Rising:
    """From 0 at the first step linearly to ``end`` after ``steps``."""

    end: float
    steps: int

    def __call__(self, step: int) -> float:
        return self.end * step / self.steps


@final
@recorded("share-from")
@dataclass(frozen=True)
class From:
    """0 before step ``first``, then ``value``."""

    value: float
    first: int

    def __call__(self, step: int) -> float:
        return self.value if step >= self.first else 0.0


@final
@recorded("large-loss")
@dataclass(eq=False)
class LargeLoss(Algorithm):
    """Assume negative, but for what surprises most.

    Args:
        learner: the model.
        share: step -> share of the B × C labels that are doubted.
        surprise: what happens to them.
        present: (N, C) bool, the labels that have been corrected for good; else (0, C).
    """

    learner: Learner
    share: Schedule
    surprise: Surprise
    present: Tensor

    def step(self, batch: Batch) -> dict[str, Tensor]:
        y = batch.y
        if self.surprise == "permanent":
            y = torch.maximum(y, self.present[batch.rows].float())
        logits = self.learner(batch.x)
        losses = F.binary_cross_entropy_with_logits(logits.float(), y, reduction="none")
        among = distributed.gather((y == 0) & (batch.readable[:, None] > 0))
        chosen = largest(distributed.gather(losses.detach()), among, self.share(batch.step))
        doubted = distributed.own_slice(chosen)
        if self.surprise == "reject":
            losses = losses * ~doubted
        else:
            flipped = torch.where(doubted, 1 - y, y)
            losses = F.binary_cross_entropy_with_logits(logits.float(), flipped, reduction="none")
        if self.surprise == "permanent":
            self.present[distributed.gather(batch.rows)] |= chosen
        loss = batch.mean(losses.mean(-1))
        self.learner.update(loss, batch)
        return {"loss": loss.detach(), "doubted": doubted.float().sum(-1).mean()}

    def predictors(self) -> dict[str, Predictor]:
        return {"model": self.learner.predictor("sigmoid")}


def largest(losses: Tensor, among: Tensor, share: float) -> Tensor:
    """(B, C) bool: the ⌈share · B · C⌉ largest losses among those allowed."""
    out = torch.zeros_like(among)
    count = min(math.ceil(share * losses.numel()), int(among.sum()))
    if count > 0:
        order = losses.masked_fill(~among, -1).flatten().argsort(descending=True, stable=True)
        out.view(-1)[order[:count]] = True
    return out


@recorded("train-large-loss")
def train(setup: Setup, options: Options, run: Run) -> LargeLoss:
    """Large-loss rejection or correction on the labelled images."""
    if options.share == 0:
        refuse_unused(options, "with --share 0: no label is doubted", "surprise")
    images, classes = len(setup.train), setup.train.labels.num_classes
    share: Schedule = Rising(options.share, setup.total)
    present = torch.zeros(0, classes, dtype=torch.bool, device=setup.device)
    if options.surprise == "permanent":
        per_epoch = images / setup.training.batch_size
        epochs = max(1.0, setup.total / per_epoch - 1)
        share = From(options.share / epochs, math.ceil(per_epoch))
        present = torch.zeros(images, classes, dtype=torch.bool, device=setup.device)
    algorithm = LargeLoss(setup.learner(), share, options.surprise, present)
    return run.train("train", algorithm, setup.stream(), **setup.budget())
