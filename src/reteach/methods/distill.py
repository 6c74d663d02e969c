"""Distillation: a student learns from what frozen teachers say of the images.

What is passed on are *targets*; MILe's Figure 5 compares these three:

* ``soft`` — softmax + KL with a temperature (Hinton et al. 2015);
* ``hard`` — the argmax as the label, + cross-entropy;
* ``threshold`` — every class whose sigmoid exceeds ρ, + binary cross-entropy (MILe's own).

Several teachers speak as one: their logits are averaged.

The labels are the teacher's alone, so that a student learns from unlabelled images as from labelled ones
(SimCLR-v2's distillation, Chen et al. 2020, with which MILe's Table 4 compares). Epochs are passes over all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.loading.batch import Batch
from ..data.loading.samplers import every
from ..data.loading.stream import Stream
from ..engine.algorithm import Algorithm
from ..engine.learner import Learner, Predictor
from ..engine.run import Run
from ..errors import UserError
from ..losses.standard import Loss, sigmoid_bce, soft_xent, softmax_xent
from ..models.presence import Link
from ..options.shared import refuse_unused
from ..recorded import recorded
from .supervised import Supervised

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import DistillOptions as Options

Kind = Literal["soft", "hard", "threshold"]
unchanged = recorded("unchanged")(torch.clone)
"""The teacher's logits as they are."""


@final
@recorded("targets")
@dataclass(frozen=True)
class Targets:
    """How labels reach a teacher, and how the teacher's logits reach a student.

    Args:
        interaction: (logits, labels) -> loss per example, with which a teacher learns.
        of: the teacher's logits (B, C) -> targets (B, C) for the student.
        imitation: (logits, targets) -> loss per example, with which the student learns.
        link: how the logits of both become scores.
    """

    interaction: Loss
    of: Callable[[Tensor], Tensor]
    imitation: Loss
    link: Link


def make_targets(
    kind: Kind, *, rho: float = 0.25, temperature: float = 1.0, bce: Loss = sigmoid_bce
) -> Targets:
    """Targets by name; ``rho`` is for ``threshold``, ``temperature`` for ``soft``."""
    if kind == "threshold":
        return Targets(bce, partial(exceeding, rho=rho), bce, "sigmoid")
    if kind == "hard":
        return Targets(softmax_xent, most_likely, softmax_xent, "softmax")
    soft = partial(soft_xent, temperature=temperature)
    return Targets(softmax_xent, unchanged, soft, "softmax")


@recorded("exceeding")
def exceeding(logits: Tensor, rho: float) -> Tensor:
    """ỹ = σ(logits) > ρ, as (B, C) bool (MILe, Algorithm 1, line 10)."""
    return logits.sigmoid() > rho


@recorded("most-likely")
def most_likely(logits: Tensor) -> Tensor:
    """The argmax as a one-hot row, (B, C) bool."""
    return F.one_hot(logits.argmax(-1), logits.shape[-1]).bool()


@final
@recorded("distill")
@dataclass(eq=False)
class Distill(Algorithm):
    """A student imitates frozen teachers; the given labels are not used.

    Args:
        student: the learner.
        teachers: frozen; gets no gradient.
        targets: what is passed on.
    """

    student: Learner
    teachers: Predictor
    targets: Targets

    def step(self, batch: Batch) -> dict[str, Tensor]:
        y = self.targets.of(self.teachers.logits(batch.x)).float()
        loss = batch.mean(self.targets.imitation(self.student(batch.x), y))
        self.student.update(loss, batch)
        return {"loss": loss.detach()}

    def predictors(self) -> dict[str, Predictor]:
        return {"student": self.student.predictor(self.targets.link)}


@recorded("train-distill")
def train(setup: Setup, options: Options, run: Run) -> Distill:
    """Teacher for half of the budget (or taken from another run), student for the rest."""
    if options.target != "soft":
        refuse_unused(options, "without --target soft", "temperature")
    if options.target != "threshold":
        refuse_unused(options, "without --target threshold", "rho")
        refuse_unused(setup.given, "without --target threshold", "on_collapse")
    targets = make_targets(options.target, rho=options.rho, temperature=options.temperature)
    if options.teacher is not None:
        if setup.unlabeled is not None and (setup.rebalance or setup.balanced_epoch):
            flag = "--rebalance" if setup.rebalance else "--balanced-epoch"
            raise UserError(f"{flag} has no effect beside --teacher and --unlabeled: leave it out")
        teacher = setup.frozen(options.teacher, options.teacher_predictor).predictor
        share = 1.0
        if teacher.link != targets.link:
            raise UserError(
                f"{options.target} targets need a {targets.link} teacher, {options.teacher} holds a "
                f"{teacher.link} one; choose another --target"
            )
    else:
        share = 0.5
        first = Supervised(setup.learner(steps=0.5), targets.interaction, targets.link)
        run.train("1-teacher", first, setup.stream("teacher"), **setup.budget(0.5))
        teacher = first.predictors()["model"]
    student = setup.learner("student", steps=share)
    algorithm = Distill(student, teacher, targets)
    return run.train("2-student", algorithm, _students(setup), **setup.budget(share))


def _students(setup: Setup) -> Stream:
    """All images, labelled or not."""
    if setup.unlabeled is None:
        return setup.stream("student")
    everything = setup.everything()
    order = setup.passes(everything, every(len(everything)), "student")
    return setup.stream("student", dataset=everything, order=order)
