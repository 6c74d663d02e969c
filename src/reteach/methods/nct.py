"""NCT — noisy concurrent training (Sarfraz, Arani, Zonooz; WACV 2021), Algorithms 1 and 2.

Two networks see the same images. Each learns from the given labels, a few of which are changed at
random and for each network separately (*target variability*), and from what its peer predicts:

    L1 = (1 - α) CE(softmax(z1), ŷ1) + α τ² KL(softmax(z2/τ) ‖ softmax(z1/τ))          (Eq. 1)
    L2 = (1 - α) CE(softmax(z2), ŷ2) + α τ² KL(softmax(z1/τ) ‖ softmax(z2/τ))          (Eq. 2)
    y  = softmax((z1 + z2) / 2)                                                         (Eq. 3)
    α  = α_max exp(-β (1 - min(e, e_r) / e_r)²)                                         (Eq. 4)
    r  = r_min + (r_max - r_min) log(e - e_w) / log(e_max - e_w)   where e > e_w        (Eq. 5)

Over the epochs α and r rise: first the labels are learned from, later mostly the peer, and the labels
that are still learned from become less reliable, so that they are not memorised. Symbols: e the epoch,
α alpha, β beta, τ temperature, r the share of labels changed, C classes, B batch.

What the paper leaves open or misprints, and what we do:

* *Eq. 4* with its minus sign and the stated β = -0.65 starts at 1.72 and falls. Meant, and done: β = 0.65,
  from 0.47 up to α_max = 0.9, which is kept once e reaches e_r.
* *Algorithm 1, lines 7-8* print z2 for z1 and one direction of KL in both losses, and divide
  probabilities by τ. Eqs. 1-2 are followed, with the temperature inside the softmax. The peer is a target:
  no gradient flows into it. Both losses are taken before either network moves.
* *Eq. 5* is r_min up to and including e = e_w; at e = e_w + 1 the logarithm is 0, so r leaves r_min one
  epoch later. Where e_max ≤ e_w + 1 there is no room for a ramp, and r stays r_min.
* *The epoch* e counts finished passes over the images (or class-balanced epochs, ``--balanced-epoch``), 0
  in the first; so r_max is approached, not reached, in the last. Both rates are constant within an epoch.
* *Algorithm 2* demands another label (``flip="other"``); the authors' code may draw the same one again
  (``flip="any"``, which changes C/(C - 1) times fewer). A soft label is moved to other classes as a whole.
* *Draws* are a function of (seed, stage, step, network), independent for the two.
* *Budget.* Each step is a backward pass for both networks, and the budget counts both: with ``--epochs
  60`` each sees the images 30 times, and e_max = 30.

Ablations (Table 6): w/o EN ``--predict first``; w/o TV ``--target-variability 0``; w/o DB ``--balancing
constant``. Without the last two it is deep mutual learning (``dml``; Zhang et al. 2018, whose CE + KL is
twice α = ½, τ = 1). α = 0 leaves target variability alone (``variability``); with r = 0 too, it is two
networks that know nothing of each other (``ensemble``), bit for bit.
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
from ..engine.side_stream import side_stream, wait_side_stream
from ..errors import UserError
from ..losses.standard import soft_xent, softmax_xent
from ..options.shared import refuse_unused
from ..recorded import recorded
from ..schedules import Constant, Schedule
from .nct_flips import Flip, changed, flips
from .nct_schedules import balancing, variability
from .two_networks import Judged, pair

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import DmlOptions, EnsembleOptions, VariabilityOptions
    from ..options.methods import NctOptions as Options


@final
@recorded("nct")
@dataclass(eq=False)
class Nct(Algorithm):
    """Algorithm 1.

    Args:
        first, second: the peers; they may be of different architectures, for the same classes.
        alpha: step -> α, the weight of the peer's predictions.
        rate: step -> r, the share of labels that are changed.
        temperature: τ.
        flip: whether a changed label must be another one.
        evaluated_model: which of the two, or both, is *the* model.
    """

    first: Learner
    second: Learner
    alpha: Schedule
    rate: Schedule
    temperature: float = 4.0
    flip: Flip = "other"
    evaluated_model: Judged = "ensemble"

    def step(self, batch: Batch) -> dict[str, Tensor]:
        alpha, rate = self.alpha(batch.step), self.rate(batch.step)
        device = batch.x.device
        with side_stream(device):
            z1 = self.first(batch.x)
        z2 = self.second(batch.x)
        wait_side_stream(device)
        if z1.shape != z2.shape:
            raise UserError(f"the peers are for {z1.shape[-1]} and {z2.shape[-1]} classes")
        loss1 = self._loss(batch, z1, z2, alpha, rate, "first")  # Eq. 1
        loss2 = self._loss(batch, z2, z1, alpha, rate, "second")  # Eq. 2
        with side_stream(device):
            self.first.update(loss1, batch)
        self.second.update(loss2, batch)
        wait_side_stream(device)
        agreement = (z1.argmax(-1) == z2.argmax(-1)).float().mean()
        return {
            "first_loss": loss1.detach(),
            "second_loss": loss2.detach(),
            "agreement": agreement,
            "alpha": torch.full_like(agreement, alpha),
            "target_variability": torch.full_like(agreement, rate),
        }

    def _loss(
        self, batch: Batch, own: Tensor, peer: Tensor, alpha: float, rate: float, name: str
    ) -> Tensor:
        y = batch.y if rate == 0 else self._changed(batch.y, rate, name)
        loss = softmax_xent(own, y)
        if alpha:
            imitation = soft_xent(own, peer.detach(), self.temperature)
            loss = (1 - alpha) * loss + alpha * imitation
        return batch.mean(loss)

    def _changed(self, y: Tensor, rate: float, name: str) -> Tensor:
        """This process's part of the labels of the whole batch, some of them changed."""
        everyone = changed(distributed.gather(y), rate, self.flip, flips(name))
        return distributed.own_slice(everyone)

    def predictors(self) -> dict[str, Predictor]:
        return pair(self.first, self.second, self.evaluated_model)  # Eq. 3: the ensemble


@recorded("train-nct")
def train(setup: Setup, options: Options, run: Run) -> Nct:
    """NCT on the labelled images."""
    alpha, rate = balancing(setup, options), variability(setup, options)
    if options.target_variability == 0:
        refuse_unused(options, "with --target-variability 0", "flip")
    peers = _peers(setup, options.peer_model)
    nct = Nct(*peers, alpha, rate, options.temperature, options.flip, options.predict)
    return _run(setup, nct, run)


@recorded("train-dml")
def train_dml(setup: Setup, options: DmlOptions, run: Run) -> Nct:
    """Deep mutual learning: a fixed α, and labels as they are."""
    if options.alpha == 0:
        refuse_unused(options, "with --alpha 0: the peers do not see each other", "temperature")
    alpha, never = Constant(options.alpha), Constant(0.0)
    nct = Nct(
        *_peers(setup, None), alpha, never, options.temperature, evaluated_model=options.predict
    )
    return _run(setup, nct, run)


@recorded("train-variability")
def train_variability(setup: Setup, options: VariabilityOptions, run: Run) -> Nct:
    """Target variability alone: two networks that do not see each other, labels changed for each."""
    rate = variability(setup, options)
    nct = Nct(*_peers(setup, None), Constant(0.0), rate, evaluated_model=options.predict)
    return _run(setup, nct, run)


@recorded("train-ensemble")
def train_ensemble(setup: Setup, options: EnsembleOptions, run: Run) -> Nct:
    """Two networks trained independently on the same batches."""
    never = Constant(0.0)
    nct = Nct(*_peers(setup, None), never, never, evaluated_model=options.predict)
    return _run(setup, nct, run)


def _run(setup: Setup, nct: Nct, run: Run) -> Nct:
    return run.train("train", nct, setup.stream(), **setup.budget(0.5))


def _peers(setup: Setup, second: str | None) -> tuple[Learner, Learner]:
    """Two fresh networks; the first starts as every other method's does."""
    return setup.learner(steps=0.5), setup.learner("peer", steps=0.5, network=second)
