"""Co-teaching (Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama; NeurIPS 2018), Algorithm 1, and co-teaching+ (Yu,
Han, Yao, Niu, Tsang, Sugiyama; ICML 2019). Rivals of NCT.

Two networks see the same batch. What a network finds easy is likely to be labelled rightly, and what it
takes for easy by mistake is not what the other does. So each learns from the images that the *other* finds
easiest:

    D_f, D_g = the R(T) · B images of the batch with the smallest losses of f, of g     (lines 4-5)
    f learns from D_g, g from D_f                                                       (lines 6-7)
    R(T) = 1 - τ min(T / T_k, 1)                                                        (line 8)

Co-teaching+ chooses among the images of which the two say different classes, so that they stay apart.
Symbols: τ the share of labels that are taken for wrong, T the epoch, T_k the epochs over which it rises, B
batch.

What the papers leave open, and what we do:

* *τ* is the true share of wrong labels, which is assumed to be known: ``--forget``, 0.2 as in their code.
* *The rise.* The text's T / T_k; in their code the first T_k epochs are ``linspace(0, τ, T_k)``, which is
  T / (T_k - 1).
* *The mean.* Their code divides the mean over the chosen images by their number once more, a factor that
  Adam does not feel. Here it is the mean.
* *How many.* ⌊R(T) n⌋ of n images, at least one. Co-teaching+ counts n among those it chooses from; a batch
  without disagreement teaches nothing (its code then learns from the whole batch, until step 5,000).
* *Budget.* Each step is a backward pass for both networks, and the budget counts both.
* *Several processes* choose from the whole batch, as one does.

τ = 0 without co-teaching+ is two networks that know nothing of each other (``ensemble``), bit for bit.
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
from ..schedules import ByEpoch, Schedule
from .two_networks import Judged, pair

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import CoTeachingOptions as Options


@final
@recorded("forgetting")
@dataclass(frozen=True)
class Forgetting:
    """1 - R: epoch -> the share of a batch that is left out, rising to ``end`` at epoch ``over``."""

    end: float
    over: float

    def __call__(self, e: float) -> float:
        return self.end * (min(e / self.over, 1.0) if self.over else 1.0)


@final
@recorded("co-teaching")
@dataclass(eq=False)
class CoTeaching(Algorithm):
    """Algorithm 1.

    Args:
        first, second: f and g.
        forgotten: step -> 1 - R(T).
        apart_from: step from which only images are chosen on which the two disagree; None: never.
        evaluated_model: which of the two, or both, is *the* model.
    """

    first: Learner
    second: Learner
    forgotten: Schedule
    apart_from: int | None = None
    evaluated_model: Judged = "ensemble"

    def step(self, batch: Batch) -> dict[str, Tensor]:
        z1, z2 = self.first(batch.x), self.second(batch.x)
        losses1, losses2 = softmax_xent(z1, batch.y), softmax_xent(z2, batch.y)
        differ = z1.argmax(-1) != z2.argmax(-1)
        among = batch.readable > 0
        if self.apart_from is not None and batch.step >= self.apart_from:
            among = among & differ
        forgotten = self.forgotten(batch.step)
        loss1 = batch.mean(losses1 * easiest(losses2.detach(), among, forgotten))
        loss2 = batch.mean(losses2 * easiest(losses1.detach(), among, forgotten))
        self.first.update(loss1, batch)
        self.second.update(loss2, batch)
        return {
            "first_loss": loss1.detach(),
            "second_loss": loss2.detach(),
            "agreement": 1 - differ.float().mean(),
        }

    def predictors(self) -> dict[str, Predictor]:
        return pair(self.first, self.second, self.evaluated_model)


def easiest(losses: Tensor, among: Tensor, forgotten: float) -> Tensor:
    """(B,) the weight of each image in a mean over the batch: equal for the images with the smallest losses,
    0 for others. Of several processes the whole batch counts."""
    everyone, allowed = distributed.gather(losses), distributed.gather(among)
    n = int(allowed.sum())
    count = max(min(1, n), int((1 - forgotten) * n + 1e-9))
    order = everyone.masked_fill(~allowed, torch.inf).argsort(stable=True)
    weight = torch.zeros_like(everyone)
    weight[order[:count]] = len(everyone) / max(1, count)
    return distributed.own_slice(weight)


@recorded("train-co-teaching")
def train(setup: Setup, options: Options, run: Run) -> CoTeaching:
    """Co-teaching on the labelled images."""
    if options.forget == 0:
        refuse_unused(options, "with --forget 0: no image is left out", "forget_epochs")
    size, images = setup.training.batch_size, setup.per_epoch
    rise = ByEpoch(Forgetting(options.forget, options.forget_epochs), images, size)
    if options.forget and rise(round(setup.total / 2) - 1) * size < 1:
        setup.warn(
            "--forget has no effect in so few epochs of each network: no image is left out; raise "
            "--epochs, or lower --forget-epochs"
        )
    apart = options.disagreement
    algorithm = CoTeaching(
        setup.learner(steps=0.5),
        setup.learner("peer", steps=0.5),
        rise,
        None if apart is None else round(apart * images / size),
        options.predict,
    )
    return run.train("train", algorithm, setup.stream(), **setup.budget(0.5))
