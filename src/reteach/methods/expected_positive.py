"""Expected positive regularisation (Cole et al., CVPR 2021, Section 4.2; see ``assume_negative``).

Nothing is said of a class that is not named. What keeps the network from calling everything present is
that a batch should hold k classes per image on average:

    L = -1/C Σ_c y_c log p_c  +  ((mean_b Σ_c p_bc - k) / C)²

k has to be known: the paper counts it in fully labelled images. ``reteach calibrate`` gives an estimate
without any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from torch import Tensor

from ..data.loading.batch import Batch
from ..engine import distributed
from ..engine.algorithm import Algorithm
from ..engine.learner import Learner, Predictor
from ..engine.run import Run
from ..errors import UserError
from ..losses.partial import expected_positives, named_only
from ..recorded import recorded

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import EprOptions


@final
@recorded("expected-positive")
@dataclass(eq=False)
class ExpectedPositive(Algorithm):
    """Learn the named class, and how many there are.

    Args:
        learner: the model.
        expected: k, classes per image.
    """

    learner: Learner
    expected: float

    def step(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.learner(batch.x)
        named = batch.mean(named_only(logits, batch.y))
        count = expected_positives(
            distributed.whole_batch(logits), self.expected, distributed.gather(batch.readable)
        )
        self.learner.update(named + count, batch)
        return {"loss": named.detach(), "count_loss": count.detach()}

    def predictors(self) -> dict[str, Predictor]:
        return {"model": self.learner.predictor("sigmoid")}


@recorded("train-epr")
def train(setup: Setup, options: EprOptions, run: Run) -> ExpectedPositive:
    """EPR on the labelled images."""
    if options.expected is None:
        raise UserError(
            "epr has to know how many classes an image holds: --expected 2.5, say "
            "(reteach calibrate estimates it)"
        )
    if not 0 < options.expected <= setup.train.labels.num_classes:
        raise UserError(
            f"--expected must lie in (0, {setup.train.labels.num_classes}], got {options.expected}"
        )
    algorithm = ExpectedPositive(setup.learner(), options.expected)
    return run.train("train", algorithm, setup.stream(), **setup.budget())
