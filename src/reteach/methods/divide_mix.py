"""DivideMix (Li, Socher, Hoi; ICLR 2020), Algorithm 1. A rival that NCT's paper does not have.

Two networks. Before each epoch a mixture of two Gaussians is fitted to the losses of each network on all
images, and the posterior w of the small ones divides the images *for the other network* into labelled ones
(w > ½) and unlabelled ones, which are then learned from as MixMatch does (Berthelot et al., NeurIPS 2019):

    ȳ = w y + (1 - w) p,   ŷ = Sharpen(ȳ, T)        of a labelled image (co-refinement, lines 17-18)
    q̂ = Sharpen(½ (p₁ + p₂), T)                     of an unlabelled one (co-guessing, lines 20-21)
    x' = λ' x₁ + (1 - λ') x₂, the targets alike     λ' = max(λ, 1 - λ), λ ~ Beta(α, α)  (their Eqs. 7-8)
    L = L_x + λ_u L_u + L_reg                                                           (their Eq. 11)

L_x is the cross-entropy of labelled images, L_u the squared error of the probabilities of unlabelled ones,
L_reg = Σ π_c log(π_c / p̄_c) with π_c = 1/C keeps all classes alive. Symbols: p a network's probabilities,
Sharpen(p, T) = p^(1/T) / Σ p^(1/T), C classes, B batch.

What we do otherwise, and why:

* *Batches* are of the images as they come. Theirs are of 64 labelled and 64 unlabelled ones, and an epoch is
  a pass over the labelled: so that here L_x and L_u are each the mean over what the batch has of them.
* *M augmentations* of each image are averaged there, two of them. Here it is one, so that a step costs one
  backward pass for each network; on features there are none anyway.
* *At the same time.* They train one network for an epoch and then the other. Here both take a step on each
  batch; the guesses are made, in evaluation mode, before either moves.
* *Partners* are the batch in reverse; λ' is each network's own.
* *λ_u* rises linearly over 16 epochs, 25 at the end (their CIFAR-10 at 50% symmetric noise). The first 10
  of 300 epochs are plain cross-entropy: ``--plain-share 0.033``. Their entropy penalty there, for asymmetric
  noise, and the losses averaged over five epochs, for 90%, are not built.
* *Budget.* Each step is a backward pass for both networks, and the budget counts both. The forward passes
  more, of the guesses and of all images per epoch, are not counted: about 2/3 of a step again.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from ..data.loading.batch import Batch
from ..data.loading.mixing import Mix
from ..data.loading.stream import Scan
from ..engine import distributed
from ..engine.algorithm import Algorithm
from ..engine.learner import Learner, Predictor
from ..engine.run import Run
from ..losses.standard import kl_from_uniform, softmax_xent
from ..options.shared import refuse_unused
from ..recorded import recorded
from ..schedules import ByEpoch, EveryEpoch, Schedule
from .loss_mixtures import losses_of, on_device, right_by_gauss
from .two_networks import Judged, pair

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import DivideMixOptions as Options


@final
@recorded("linear-epochs")
@dataclass(frozen=True)
class LinearEpochs:
    """Epoch -> 0 at ``first``, rising to ``end`` over ``over`` epochs."""

    end: float
    first: float
    over: float

    def __call__(self, e: float) -> float:
        return self.end * min(max((e - self.first) / self.over, 0.0), 1.0)


@final
@recorded("divide-mix")
@dataclass(eq=False)
class DivideMix(Algorithm):
    """Algorithm 1.

    Args:
        first, second: the networks.
        images: all training images.
        right: (2, N) w by each network's own losses.
        divisions: when they are made; before the first the labels are learned from as they are.
        mixes: λ of each network's steps.
        unlabeled_weight: step -> λ_u.
        temperature: T.
        threshold: of w, above which an image is labelled.
        evaluated_model: which of the two, or both, is *the* model.
    """

    first: Learner
    second: Learner
    images: Scan
    right: Tensor
    divisions: EveryEpoch
    mixes: tuple[Mix, Mix]
    unlabeled_weight: Schedule
    temperature: float = 0.5
    threshold: float = 0.5
    evaluated_model: Judged = "ensemble"

    def step(self, batch: Batch) -> dict[str, Tensor]:
        networks = (self.first, self.second)
        if batch.step < self.divisions.first:
            losses = [batch.mean(softmax_xent(net(batch.x), batch.y)) for net in networks]
        else:
            losses = self._mixmatch(batch, networks)
        for network, loss in zip(networks, losses, strict=True):
            network.update(loss, batch)
        told = {"first_loss": losses[0].detach(), "second_loss": losses[1].detach()}
        if batch.step >= self.divisions.first:
            told["doubted"] = 1 - self.right[:, batch.rows].mean()
        return told

    def _mixmatch(self, batch: Batch, networks: tuple[Learner, Learner]) -> list[Tensor]:
        if batch.part == 0 and self.divisions.due(batch.step):
            for number, network in enumerate(networks):
                found = right_by_gauss(losses_of(network.infer, self.images))
                self.right[number] = on_device(found, self.right.device)
        said = [network.infer(batch.x).softmax(-1) for network in networks]
        guessed = sharpen((said[0] + said[1]) / 2, self.temperature)
        losses = []
        for own, network in enumerate(networks):
            w = self.right[1 - own, batch.rows][:, None]  # by the other's losses
            labelled = (w > self.threshold)[:, 0]
            refined = sharpen(w * batch.y + (1 - w) * said[own], self.temperature)
            targets = torch.where(labelled[:, None], refined, guessed)
            lam, _ = self.mixes[own].draw(batch.step, 1, 1)
            losses.append(self._loss(network, batch, targets, labelled, max(lam, 1 - lam)))
        return losses

    def _loss(
        self, network: Learner, batch: Batch, targets: Tensor, labelled: Tensor, lam: float
    ) -> Tensor:
        """Eq. 11 of one network."""
        logits = network(lam * batch.x + (1 - lam) * distributed.reverse(batch.x))
        mixed = lam * targets + (1 - lam) * distributed.reverse(targets)
        there = batch.readable * distributed.reverse(batch.readable)
        squares = (logits.float().softmax(-1) - mixed).square().mean(-1)
        l_x = _mean(softmax_xent(logits, mixed), there * labelled)
        l_u = _mean(squares, there * ~labelled)
        return (
            l_x
            + self.unlabeled_weight(batch.step) * l_u
            + kl_from_uniform(distributed.whole_batch(logits))
        )

    def predictors(self) -> dict[str, Predictor]:
        return pair(self.first, self.second, self.evaluated_model)


def sharpen(p: Tensor, temperature: float) -> Tensor:
    """p^(1/T), scaled to add up to 1; (B, C)."""
    powers = p ** (1 / temperature)
    return powers / powers.sum(-1, keepdim=True)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean over the whole batch; 0 where nothing has weight."""
    values, weight = distributed.whole_batch(values), distributed.gather(weight)
    return (values * weight).sum() / weight.sum().clamp_min(1)


@recorded("train-divide-mix")
def train(setup: Setup, options: Options, run: Run) -> DivideMix:
    """DivideMix on the labelled images."""
    size, images = setup.training.batch_size, setup.per_epoch
    first = round(options.plain_share * setup.total / 2)
    if options.plain_share == 1:
        why = "with --plain-share 1: no label is doubted"
        refuse_unused(
            options, why, "threshold", "sharpness", "alpha", "unlabeled_weight", "unlabeled_epochs"
        )
    if options.unlabeled_weight == 0:
        refuse_unused(options, "with --unlabeled-weight 0", "unlabeled_epochs")
    rise = LinearEpochs(options.unlabeled_weight, first * size / images, options.unlabeled_epochs)
    algorithm = DivideMix(
        setup.learner(steps=0.5),
        setup.learner("peer", steps=0.5),
        setup.scan(setup.train),
        torch.zeros(2, len(setup.train), device=setup.device),
        EveryEpoch(first, ceil(images / size)),
        (Mix(options.alpha, 0, setup.seed, "first"), Mix(options.alpha, 0, setup.seed, "second")),
        ByEpoch(rise, images, size),
        options.sharpness,
        options.threshold,
        options.predict,
    )
    return run.train("train", algorithm, setup.stream(), **setup.budget(0.5))
