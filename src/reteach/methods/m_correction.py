"""M-correction (Arazo, Ortego, Albert, O'Connor, McGuinness; *Unsupervised Label Noise Modeling and Loss
Correction*, ICML 2019): M-DYR-H, the form their tables and NCT's Table 1 compare with. A rival of NCT.

Wrong labels have larger losses. A mixture of two beta distributions is fitted to the losses of all images
after each epoch (:mod:`reteach.methods.loss_mixtures`), and the posterior w of the wrong component says how
far to trust an image's label y against the network's own first choice z. Two images are mixed, and so are
their corrected targets:

    x   = λ x_p + (1 - λ) x_q,   λ ~ Beta(α, α)
    ℓ   = λ ℓ_p + (1 - λ) ℓ_q,   ℓ_p = -((1 - w_p) y_p + w_p z_p)ᵀ log h(x)            (their Eqs. 8-9, 16)
    R   = Σ_c p_c log(p_c / h̄_c),   p_c = 1/C, h̄ the mean prediction of the batch     (their Eq. 15)

Symbols: h the network's probabilities, C classes, α alpha.

* *When.* Mixup alone (α = 32) for 105 of 300 epochs, then all of it: ``--plain-share 0.35``. The first
  fit comes then; their code fits from the first epoch on and does not look at it.
* *w and z* are of the unmixed images as they come, augmented, by the present weights in evaluation mode.
  Their code takes z in training mode, whose batch statistics are nearly the same.
* *The losses* that are fitted are of un-augmented images; theirs of augmented ones.
* *R* weighs ``--balance``, 1 as in the paper; 0 in their code's default.
* *Partners* are the batch in reverse, as with ``--mixup``.
* *Budget.* One backward pass per step. The two forward passes more, one of them over the whole data set per
  epoch, are not counted: about 2/3 of a step again.

With ``--plain-share 1`` it is ``softmax --mixup 32``, up to the draws of λ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor
from torch.nn import functional as F

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
from ..schedules import EveryEpoch
from .loss_mixtures import fit_beta, losses_of, on_device, wrong_by_beta

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import MCorrectionOptions as Options


@final
@recorded("m-correction")
@dataclass(eq=False)
class MCorrection(Algorithm):
    """M-DYR-H.

    Args:
        learner: the model.
        images: all training images.
        mixture: (8,) float64, of :func:`.loss_mixtures.fit_beta`.
        fits: when it is fitted; labels are corrected from the first time on.
        mix: λ of each step.
        balance: weight of R.
    """

    learner: Learner
    images: Scan
    mixture: Tensor
    fits: EveryEpoch
    mix: Mix
    balance: float = 1.0

    def step(self, batch: Batch) -> dict[str, Tensor]:
        if batch.part == 0 and self.fits.due(batch.step):
            fitted = fit_beta(losses_of(self.learner.infer, self.images))
            self.mixture.copy_(torch.from_numpy(fitted))
        told = {}
        corrected = batch.step >= self.fits.first
        if corrected:
            y, wrong = self._corrected(batch)
            batch, told["doubted"] = replace(batch, y=y), wrong.mean()
        mixed = self.mix(batch, distributed.reverse)
        logits = self.learner(mixed.x)
        loss = mixed.mean(softmax_xent(logits, mixed.y))
        if corrected and self.balance:
            loss = loss + self.balance * kl_from_uniform(distributed.whole_batch(logits))
        self.learner.update(loss, mixed)
        return {"loss": loss.detach(), **told}

    def _corrected(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(1 - w) y + w z, (B, C), and w, (B,)."""
        logits = self.learner.infer(batch.x)
        losses = softmax_xent(logits, batch.y).double().cpu().numpy()
        wrong = on_device(wrong_by_beta(losses, self.mixture.cpu().numpy()), logits.device)
        wrong = wrong.clamp(1e-4, 1 - 1e-4)
        z = F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        return torch.lerp(batch.y, z, wrong[:, None]), wrong

    def predictors(self) -> dict[str, Predictor]:
        return {"model": self.learner.predictor("softmax")}


@recorded("train-m-correction")
def train(setup: Setup, options: Options, run: Run) -> MCorrection:
    """M-correction on the labelled images."""
    if options.plain_share == 1:
        refuse_unused(options, "with --plain-share 1: no label is corrected", "balance")
    algorithm = MCorrection(
        setup.learner(),
        setup.scan(setup.train),
        torch.zeros(8, dtype=torch.float64),
        EveryEpoch(
            round(options.plain_share * setup.total),
            ceil(setup.per_epoch / setup.training.batch_size),
        ),
        Mix(options.alpha, 0.0, setup.seed, "m-correction"),
        options.balance,
    )
    return run.train("train", algorithm, setup.stream(), **setup.budget())
