"""Plain supervised training, the baseline of everything: softmax, or sigmoid per class.

MILe's Section 4.1 calls the two *Softmax* (cross-entropy) and *Sigmoid* (binary cross-entropy on the
one-hot labels). The mean over classes is Eq. 1; the authors' code sums over them, which is a factor C
in the step size: ``--class-sum``. The output bias may start at the class prior (``--prior-bias``), so
that a C-way sigmoid head starts near 1/C instead of 1/2. *ASL* is the sigmoid with the asymmetric loss
(:mod:`reteach.losses.asymmetric`), the baseline of CPSD.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from torch import Tensor

from ..data.loading.batch import Batch
from ..data.loading.mixing import Mix
from ..engine.algorithm import Algorithm
from ..engine.learner import Learner, Predictor
from ..engine.run import Run
from ..losses.asymmetric import Asymmetric
from ..losses.class_weights import WeightedBce, WeightedXent
from ..losses.own import OwnLoss
from ..losses.standard import Loss, sigmoid_bce, sigmoid_bce_sum, smooth, softmax_xent
from ..models.presence import Link
from ..options.shared import refuse_unused
from ..recorded import recorded

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import AslOptions, MixupOptions, SigmoidOptions, SoftmaxOptions


@final
@recorded("supervised")
@dataclass(eq=False)
class Supervised(Algorithm):
    """Minimise ``loss`` between the logits and the given labels.

    Args:
        learner: the model.
        loss: per example; see :mod:`reteach.losses.standard`.
        link: how its logits become scores.
        smoothing: label smoothing ε.
    """

    learner: Learner
    loss: Loss
    link: Link
    smoothing: float = 0.0

    def step(self, batch: Batch) -> dict[str, Tensor]:
        y = smooth(batch.y, self.smoothing)
        logits = self.learner(batch.x)
        loss = batch.mean(
            self.loss(logits, y) if batch.known is None else self.loss(logits, y, batch.known)
        )
        self.learner.update(loss, batch)
        return {"loss": loss.detach()}

    def predictors(self) -> dict[str, Predictor]:
        return {"model": self.learner.predictor(self.link)}


@recorded("train-softmax")
def train_softmax(setup: Setup, options: SoftmaxOptions, run: Run) -> Supervised:
    """The softmax baseline."""
    weights = setup.class_weights("softmax")
    loss: Loss = softmax_xent if weights is None else WeightedXent(weights)
    if (own := setup.own_loss("softmax")) is not None:
        refuse_smoothing(own, options)
        loss = own
    algorithm = Supervised(setup.learner(), loss, "softmax", options.smoothing)
    return run.train("train", algorithm, setup.stream(), **setup.budget())


@recorded("train-mixup")
def train_mixup(setup: Setup, options: MixupOptions, run: Run) -> Supervised:
    """The softmax baseline on mixed images; ``softmax --mixup``, bit for bit."""
    stream = setup.stream()
    stream = replace(stream, mix=Mix(options.alpha, 0.0, setup.seed, stream.name))
    algorithm = Supervised(setup.learner(), softmax_xent, "softmax")
    return run.train("train", algorithm, stream, **setup.budget())


def refuse_smoothing(own: OwnLoss, options: SoftmaxOptions | SigmoidOptions) -> None:
    """Refuse smoothed targets where a loss is given class numbers."""
    if own.targets == "integer":
        refuse_unused(options, "where a loss is given class numbers", "smoothing")


@recorded("train-asl")
def train_asl(setup: Setup, options: AslOptions, run: Run) -> Supervised:
    """The asymmetric loss, the baseline of CPSD."""
    learner = setup.learner(prior_bias=options.prior_bias)
    algorithm = Supervised(learner, asymmetric_loss(options), "sigmoid")
    return run.train("train", algorithm, setup.stream(), **setup.budget())


def asymmetric_loss(options: AslOptions) -> Asymmetric:
    """The loss with a method's settings."""
    if options.gamma_neg == options.gamma_pos == 0:
        refuse_unused(options, "where both gammas are 0: nothing is focused", "focus_gradient")
    return Asymmetric(options.gamma_neg, options.gamma_pos, options.shift, options.focus_gradient)


@recorded("train-sigmoid")
def train_sigmoid(setup: Setup, options: SigmoidOptions, run: Run) -> Supervised:
    """The sigmoid baseline."""
    weights = setup.class_weights("sigmoid")
    loss: Loss = sigmoid_bce_sum if options.class_sum else sigmoid_bce
    if weights is not None:
        loss = WeightedBce(weights, summed=options.class_sum)
    if (own := setup.own_loss("sigmoid")) is not None:
        refuse_unused(options, "with a loss of your own", "class_sum")
        refuse_smoothing(own, options)
        loss = own
    learner = setup.learner(prior_bias=options.prior_bias)
    algorithm = Supervised(learner, loss, "sigmoid", options.smoothing)
    return run.train("train", algorithm, setup.stream(), **setup.budget())
