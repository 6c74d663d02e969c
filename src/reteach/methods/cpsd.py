"""CPSD — complementary parallel self-distillation (Xu et al., IJCAI 2022).

Labels that go together help and mislead: a mouse is found by its laptop. So the C classes are split
into k subsets twice, once so that classes of a subset share images (*co*) and once so that they do not
(*dis*; Section 3.2, :mod:`reteach.relabel.partition.class_subsets`). One teacher per subset learns its few
classes, and a student of all classes learns from the labels and from what both sides say:

    S_ij = e_ij / n_i,  P⁺ = ½ (S^(1/τ) + its transpose),  P⁻ = 1 − P⁺                  (Eq. 1)
    subsets by normalised cut of P⁺ and of P⁻ (``--partition-method``)                   (Eq. 2)
    teacher t = argmin L_cls of the classes of C_t                                       (Eqs. 3-4)
    ŷ⁺, ŷ⁻ = the logits of a side's teachers, put together in class order               (Eq. 5)
    L_kd = ½ (‖ŷˢ − ŷ⁺‖² + ‖ŷˢ − ŷ⁻‖²)                                                  (Eq. 6)
    student = argmin L_cls + L_kd                                                        (Eq. 7)

Symbols: e_ij the images with classes i and j, n_i those with i, τ tau, k the subsets of a side, C_t a
subset, L_cls the asymmetric loss, μ its shift, ŷˢ the student's logits, B batch.

What the paper leaves open or misprints, and what we do:

* *Eq. 1's I* is the matrix of ones: S holds shares, and an identity would make most of P⁻ negative.
* *τ* is 3 in the text and a square root, 2, in the authors' code: 2 by default (``--tau``).
* *The diagonal* of P is silent. It is zero on both sides; see :mod:`reteach.relabel.partition.cooccurrence`.
* *Eq. 4* lacks its minus sign, and its shift by μ concerns negatives only; see
  :mod:`reteach.losses.asymmetric`.
* *The weights* of L_cls and the two halves of L_kd are 1, ½, ½ in Eqs. 6-7 and ½, ¼, ¼ in the authors'
  code: the same up to a factor 2 in the step size, which Adam does not feel. We keep Eq. 7's.
  Of one side alone (CGPD, DGPD) L_kd is ‖ŷˢ − ŷ‖²: the mean over the sides there are.
* *The square* is a sum over the classes in Eq. 6 and in the code (``MSELoss(reduce=True,
  size_average=False)`` adds up), as L_cls is: ``--imitation sum``, the default. ``mean`` is ours and weighs
  C times less. Either way the loss is averaged over the batch, where Eqs. 4 and 6 add up.
* *Averaged weights.* The code keeps an average of the weights (0.9997), the paper is silent:
  ``--average``, off by default. Then teachers teach and the student predicts with their averages.
* *Start.* All networks of the paper start from the same published weights. From scratch, teachers have
  each their own random start, and the student has that of every other method.
* *Images of a teacher* are those "which contain categories in C_t" in the paper's Section 3.1, and all of
  them in the code, whose data sets narrow the labels and filter nothing: ``--teacher-images all``, the
  default. So a teacher of one class learns too (the code's partition of COCO has ``person`` alone). With
  ``theirs`` it would see no negative, which is an error, and others are asked about images of a kind that
  they never saw.
* *Budget.* The paper gives 20 epochs to each teacher and 80 to the student: ``--teacher-epochs 20 --epochs
  280`` for ten. Here all share one budget of backward passes: the teachers get ``--teacher-share`` of it,
  each by the number of its images, so that all make the same number of epochs; the student gets the rest.
* *The schedule* of the code is one cycle, with cutout and RandAugment: ``--warmup``, ``--cutout``,
  ``--randaugment``.
* *Decoding.* Teachers that run side by side (``--parallel``) and the student share the images that one
  of them has decoded (:mod:`reteach.data.loading.shared`), as far as half of the free memory goes.
* *Teachers' logits* are computed once for all images where these always look the same (``--augment
  none``), and for each batch where they do not.
* *A class without a positive image* is warned of, not refused: a rare tag may lose its last image to
  the validation split. The search deals such classes out evenly; a teacher of nothing else learns that
  they are absent, and is an error with ``--teacher-images theirs``.
* *A subset that stands on both sides* has one teacher, who speaks for both; ``--twins`` trains two.

Limits: k = 1 is self-distillation (SD), one whole teacher. No teachers (``--subsets 0``) is the
baseline ``asl``, bit for bit. Ablations of Table 3: SD ``--subsets 1``, CGPD ``--sides co``, DGPD
``--sides dis``; of Figure 3: ``--sides random``. Controls of our own: ``two-random``, as many teachers
as CPSD has, and ``--subsets 1 --twins``, two whole ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from ..data.loading.batch import Batch
from ..data.loading.cache import free_memory
from ..data.loading.resident import in_memory
from ..data.loading.shared import SharedSource
from ..engine.algorithm import Algorithm, Specialist
from ..engine.learner import Learner, Predictor
from ..engine.parallel_training import Task, train_tasks
from ..engine.run import Run
from ..engine.teacher_logits import fixed_logits
from ..losses.standard import Loss, bernoulli_kl, mean_squared_error, squared_error
from ..recorded import recorded
from .cpsd_plan import check, plan_sides, plan_teachers, student_share
from .cpsd_teachers import merge, teach
from .supervised import asymmetric_loss

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import CpsdOptions as Options


@final
@recorded("cpsd")
@dataclass(eq=False)
class Cpsd(Algorithm):
    """The student's training.

    Args:
        student: of all classes.
        sides: the teachers of each side, merged; frozen. None at all is the baseline.
        loss: L_cls, with which the student learns from the labels.
        imitation: (student's logits, teachers' logits) -> (B,).
        weight: of the imitation beside the labels.
        teachers: all of them, by name, for those who want to look into their work.
    """

    student: Learner
    sides: tuple[Predictor, ...]
    loss: Loss
    imitation: Loss
    weight: float = 1.0
    teachers: dict[str, Specialist] | None = None
    _known: Tensor | None = None  # the sides' logits of all images (sides, N, C), if computed once

    def step(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.student(batch.x)
        given = (batch.y,) if batch.known is None else (batch.y, batch.known)
        loss = batch.mean(self.loss(logits, *given))  # Eq. 4
        told = {"loss": loss.detach()}
        if self.sides:
            each = [batch.mean(self.imitation(logits, said)) for said in self._said(batch)]
            imitation = torch.stack(each).mean()  # Eq. 6
            loss = loss + self.weight * imitation  # Eq. 7
            told["imitation"] = imitation.detach()
        self.student.update(loss, batch)
        return told

    def _said(self, batch: Batch) -> Tensor:
        """ŷ⁺ and ŷ⁻, (sides, B, C)."""
        if self._known is not None:
            return self._known[:, batch.rows]
        return torch.stack([side.logits(batch.x) for side in self.sides])

    def predictors(self) -> dict[str, Predictor]:
        return {"student": self.student.predictor("sigmoid")}

    def specialists(self) -> dict[str, Specialist]:
        return self.teachers or {}


@recorded("train-cpsd")
def train(setup: Setup, options: Options, run: Run) -> Cpsd:
    """Partition, teachers, student."""
    check(options)
    if options.parallel > 1 and not in_memory(setup.train.source):
        shared = SharedSource(setup.train.source, free_memory() // 2)
        setup = replace(setup, train=replace(setup.train, source=shared))
    loss = asymmetric_loss(options)
    sides = plan_sides(setup, options, run)  # Eqs. 1-2
    plans, whose = plan_teachers(setup, options, sides)
    share = student_share(setup, options, plans)
    tasks = [Task(plan.name, plan.steps, partial(teach, plan, options)) for plan in plans]
    train_tasks(tasks, setup, run, options.parallel, "teachers")
    teachers = {
        plan.name: Specialist(teach(plan, options, setup, run).predictors()["model"], plan.classes)
        for plan in plans
    }
    merged = tuple(merge([teachers[name] for name in names], setup) for names in whose)
    student = Cpsd(
        setup.learner(steps=share, prior_bias=options.prior_bias),
        merged,
        loss,
        _imitation(options),
        options.imitation_weight,
        teachers,
        fixed_logits(setup, merged, run),
    )
    return run.train("train", student, setup.stream(), **setup.budget(share))


def _imitation(options: Options) -> Loss:
    if options.imitation == "kl":
        return partial(bernoulli_kl, temperature=options.temperature)
    return squared_error if options.imitation == "sum" else mean_squared_error
