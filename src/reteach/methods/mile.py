"""MILe — multi-label iterated learning (Rajeswar, Rodríguez et al.; CVPR 2022), Algorithm 1.

A teacher learns a little from the single labels (*interaction*, k_t steps of binary cross-entropy);
then a student learns from the sets of classes that the teacher finds (*imitation*, k_s steps on
ỹ = σ(f(x; θT)) > ρ); the student becomes the next teacher. Symbols: k_t, k_s, ρ (rho), B, C.

What the paper leaves open, and what we do:

* *Line 6* prints an ascent; the loss is minimised. *Line 11* prints ỹ for ŷ.
* *When pseudo-labels are made.* Line 10 makes them per batch, the cost paragraph once per cycle. Under
  augmentation they differ. ``relabel="batch"`` (default) follows line 10: the teacher sees the student's
  very pixels. ``relabel="cycle"`` scans the un-augmented data set once after the k_t steps, which is
  the cheaper one when k_s · B > N.
* *Which student.* In Algorithm 1 the student keeps its own weights through the interaction phase:
  :class:`Mile`. The authors' code trains one network with one optimiser throughout, with a frozen copy
  of it, taken after the k_t steps, as the teacher: :class:`ContinuingMile`.
* *Which model is evaluated.* The student (the teacher sits at the sigmoid baseline).
* *Optimiser state at a copy.* Each network keeps its own (``at_copy="keep"``); ``copy`` and ``reset``
  make no difference that we could measure.
* *Learning rate.* One schedule over all steps of both phases: the budget of backward passes.
* *Eq. 1* averages over classes; the authors' code sums (``--class-sum``). It also starts the output bias
  at the class prior (``--prior-bias``), can unite pseudo-labels with the given one (``--union``), and can
  draw them from the teacher's probabilities (``--sample``) instead of a threshold.
* *Beyond the paper*: ``--rho mixture``. A fixed ρ has to be right for the data, and most of what it gains at
  a threshold comes from lying below it. Instead the teacher is calibrated in each cycle
  (:mod:`reteach.relabel.calibration.presence`) on its scores of some training images and on their given
  labels; what is more likely present than not is taught, or with ``--soft-sets`` the probability itself.
  While the scores do not tell present from absent, as at first, ρ is the paper's 0.25; the log says in which
  steps (``calibrated``), and a training in which it was so throughout is warned of.
* *Cycles.* k_t and k_s that are given hold. What is left open is chosen so that whole cycles fill the budget:
  ten of them, a third of each the student's, where both are.
* *Unlabelled images* (Section 4.2) come in the student's steps alone, and so ``--rebalance`` and
  ``--balanced-epoch`` hold for the teacher's, which see labelled images.
* *Targets.* Figure 5 replaces the thresholded sets by soft or hard softmax labels: ``--targets``.

The phase is arithmetic on the step, so the alternation has no state of its own. A teacher in its
inference mode costs one forward pass per student step: k_s / (k_t + k_s) / 3 of the training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

from torch import Tensor, nn

from ..data.dataset import Dataset
from ..data.loading.batch import Batch
from ..data.loading.samplers import AlternatingSampler, every
from ..data.loading.stream import Stream
from ..engine.algorithm import Algorithm
from ..engine.learner import Learner, Predictor
from ..engine.run import Run
from ..engine.sharding import copy_of, full_state
from ..options.shared import refuse_unused
from ..recorded import recorded
from ..schedules import Cycles, Turn
from .mile_labels import PseudoLabeler
from .mile_plan import check, make_labeler, plan, warn_if_never_calibrated, wasted

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import MileOptions as Options

AtCopy = Literal["keep", "copy", "reset"]


@final
@recorded("mile")
@dataclass(eq=False)
class Mile(Algorithm):
    """Algorithm 1.

    Args:
        teacher, student: two learners of the same architecture.
        labeler: what the student is taught.
        cycles: when it is the teacher's turn (k_t steps of interaction), and when the student's (k_s of
            imitation).
        at_copy: what happens to the teacher's optimiser state when it takes the student's weights.
        evaluated_model: which of the two is *the* model.
    """

    teacher: Learner
    student: Learner
    labeler: PseudoLabeler
    cycles: Cycles
    at_copy: AtCopy = "keep"
    evaluated_model: Literal["student", "teacher"] = "student"

    def step(self, batch: Batch) -> dict[str, Tensor]:
        turn, targets = self.cycles(batch.step), self.labeler.targets
        begins = turn.begins and batch.part == 0
        if turn.first and begins:
            self.teacher.copy_from(self.student, self.at_copy)  # line 2
        if turn.first:  # lines 3-7, interaction
            learner, y, loss_of = self.teacher, batch.y, targets.interaction
        else:  # lines 8-13, imitation
            y = self.labeler(self.teacher.infer, batch, turn.cycle, begins)  # line 10
            learner, loss_of = self.student, targets.imitation
        loss = batch.mean(loss_of(learner(batch.x), y))
        learner.update(loss, batch)
        return _measured(self.labeler, turn, loss, y)

    def predictors(self) -> dict[str, Predictor]:
        link = self.labeler.targets.link
        both = {"student": self.student.predictor(link), "teacher": self.teacher.predictor(link)}
        return {self.evaluated_model: both[self.evaluated_model]} | both


@final
@recorded("continuing-mile")
@dataclass(eq=False)
class ContinuingMile(Algorithm):
    """The authors' code: one network runs on; its teacher is a frozen copy made after the k_t steps.

    Args:
        student: the one learner, used in both phases.
        teacher: a module of the same architecture, overwritten at each cycle.
        labeler, cycles: as in :class:`Mile`.
    """

    student: Learner
    teacher: nn.Module
    labeler: PseudoLabeler
    cycles: Cycles

    def step(self, batch: Batch) -> dict[str, Tensor]:
        turn, targets = self.cycles(batch.step), self.labeler.targets
        if turn.first:
            y, loss_of = batch.y, targets.interaction
        else:
            begins = turn.begins and batch.part == 0
            if begins:
                self.teacher.load_state_dict(full_state(self.student.model))
            y = self.labeler(self._teacher().logits, batch, turn.cycle, begins)
            loss_of = targets.imitation
        loss = batch.mean(loss_of(self.student(batch.x), y))
        self.student.update(loss, batch)
        return _measured(self.labeler, turn, loss, y)

    def _teacher(self) -> Predictor:
        return Predictor((self.teacher,), self.labeler.targets.link, self.student.precision)

    def predictors(self) -> dict[str, Predictor]:
        student = self.student.predictor(self.labeler.targets.link)
        return {"student": student, "teacher": self._teacher()}


def _measured(labeler: PseudoLabeler, turn: Turn, loss: Tensor, y: Tensor) -> dict[str, Tensor]:
    if turn.first:
        return {"teacher_loss": loss.detach()}
    return {"student_loss": loss.detach(), **labeler.counted(y)}


@recorded("train-mile")
def train(setup: Setup, options: Options, run: Run) -> Mile | ContinuingMile:
    """MILe on the labelled images, and on unlabelled ones too where there are any (Section 4.2)."""
    check(options)
    if options.targets != "threshold":
        refuse_unused(setup.given, "without --targets threshold", "on_collapse")
    cycles = plan(setup.total, options.k_t, options.k_s)
    if options.student == "algorithm1":
        for line in wasted(cycles, setup.total):
            setup.warn(line)
    everything = setup.everything()
    labeler = make_labeler(setup, options, everything)
    stream = _stream(setup, everything, cycles)
    student = setup.learner(prior_bias=options.prior_bias)
    algorithm: Mile | ContinuingMile
    if options.student == "continuing":
        teacher = copy_of(student.model).requires_grad_(False)
        algorithm = ContinuingMile(student, teacher, labeler, cycles)
    else:
        teacher_learner = setup.learner(prior_bias=options.prior_bias)
        algorithm = Mile(
            teacher_learner, student, labeler, cycles, options.at_copy, options.evaluated_model
        )
    trained = run.train("train", algorithm, stream, **setup.budget())
    if labeler.calibrated is not None:
        warn_if_never_calibrated(labeler.calibrated, run.log.records, setup)
    return trained


def _stream(setup: Setup, everything: Dataset, cycles: Cycles) -> Stream:
    """Labelled images; where there are unlabelled ones, the student's steps see all of them."""
    if setup.unlabeled is None:
        return setup.stream()
    order = AlternatingSampler(
        setup.order(everything, "labelled"),
        setup.passes(everything, every(len(everything)), "everything"),
        cycles,
    )
    return setup.stream(dataset=everything, order=order)
