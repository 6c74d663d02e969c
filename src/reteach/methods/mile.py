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

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from .. import rng
from ..data.loading.stream import AlternatingSampler, Batch, Epochs, Scan, Stream
from ..engine.algorithm import Algorithm
from ..engine.evaluate import outputs
from ..engine.learner import Learner, Predictor
from ..engine.log import Record
from ..engine.run import Run
from ..errors import UserError
from ..labels import Rows, Single
from ..losses.standard import sigmoid_bce, sigmoid_bce_sum
from ..models.presence import Presence
from ..options.shared import refuse_unused
from ..recorded import recorded
from ..relabel.calibration.logit_histogram import LogitHistogram
from ..relabel.calibration.presence import TRUSTED, calibrate
from ..schedules import Cycles, Turn
from .distill import Targets, make_targets

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import MileOptions as Options

AtCopy = Literal["keep", "copy", "reset"]
CALIBRATED_ON = 2000
"""Images that a teacher is calibrated on, at most: one short scan per cycle."""


@final
@recorded("calibrated-targets")
@dataclass(eq=False)
class Calibrated:
    """ỹ by calibration of the teacher, made anew in each cycle; without one, σ(logits) > ``otherwise``.

    Args:
        images: what the teacher is calibrated on, with one label each.
        soft: pass on the probabilities of presence instead of the sets.
        otherwise: the threshold where the scores cannot tell.
        why: it was the threshold in the last cycle; empty where the teacher could be calibrated.
    """

    images: Scan
    soft: bool = False
    otherwise: float = 0.25
    why: str = field(default="", init=False)
    _presence: Presence | None = field(default=None, init=False)
    _begun: bool = field(default=False, init=False)

    def begin(self, teacher: Callable[[Tensor], Tensor], fresh: bool) -> None:
        """Calibrate a teacher: a ``fresh`` one, or after a run was resumed the one that was at work."""
        if self._begun and not fresh:
            return
        histogram = LogitHistogram(self.images.dataset.classes, bins=512)
        labels = self.images.dataset.labels
        assert isinstance(labels, Single)
        for rows, z in outputs(teacher, self.images):
            histogram.add(z.cpu().numpy(), labels.index[rows])
        self._presence, self._begun = None, True
        try:
            found = calibrate(histogram, "sigmoid")
        except UserError as error:  # too few images, or scores that are all the same
            self.why = str(error)
            return
        self.why = "; ".join(found.warnings)
        self._presence = None if found.warnings else found.presence

    def works(self) -> bool:
        """Whether the teacher at work could be calibrated."""
        return self._presence is not None

    def __call__(self, logits: Tensor) -> Tensor:
        """(B, C) targets."""
        if self._presence is None:
            return logits.sigmoid() > self.otherwise
        p = self._presence(logits).sigmoid()
        return p if self.soft else p > 0.5


@final
@recorded("pseudo-labeler")
@dataclass(frozen=True)
class PseudoLabeler:
    """What passes from a teacher to its student.

    Args:
        targets: logits -> ỹ, and the losses of both phases.
        union: add the given label to each pseudo-label set.
        images: scan the data set once per cycle for the targets, instead of labelling each batch.
        calibrated: the targets, where they are made by calibration.
        draws: seed of the pseudo-labels of a cycle, where they are drawn; those of a batch are drawn with
            the step's own random numbers.
    """

    targets: Targets
    union: bool = False
    images: Scan | None = None
    calibrated: Calibrated | None = None
    draws: int | None = None

    def begin(self, teacher: Callable[[Tensor], Tensor], fresh: bool) -> None:
        """Make ready to teach; ``fresh`` at the first step of a teacher."""
        if self.calibrated is not None:
            self.calibrated.begin(teacher, fresh)

    def label(self, teacher: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
        """(B, C) targets for this very batch."""
        return self._with_given(self.targets.of(teacher(batch.x)), batch)

    def lookup(self, memory: Tensor, batch: Batch) -> Tensor:
        """(B, C) targets out of those of the whole data set."""
        return self._with_given(memory[batch.rows], batch)

    def _with_given(self, targets: Tensor, batch: Batch) -> Tensor:
        return torch.maximum(targets.float(), batch.y) if self.union else targets.float()

    def label_all(self, teacher: Callable[[Tensor], Tensor], cycle: int) -> Tensor:
        """(N, C) targets of the whole data set, in their own type (bool for label sets).

        They are a function of the teacher and the cycle, so that a resumed run makes the same again.
        """
        assert self.images is not None
        draws = None if self.draws is None else rng.fold(self.draws, "cycle", cycle)
        say = self.targets.of if draws is None else torch.sigmoid
        memory: Tensor | None = None
        for rows, found in outputs(lambda x: say(teacher(x)), self.images):
            if draws is not None:
                found = found > _chances(draws, rows, found)
            if memory is None:
                n = len(self.images.dataset)
                memory = torch.zeros(n, found.shape[-1], dtype=found.dtype, device=found.device)
            memory[torch.from_numpy(rows)] = found.to(memory.device)
        if memory is None:
            raise UserError("no image could be read for the pseudo-labels of a cycle")
        return memory.to(self.images.prepare.device)

    def counted(self, targets: Tensor) -> dict[str, Tensor]:
        """Labels per image, where targets are sets; and whether they were made by calibration."""
        found = {"pseudo_labels": targets.sum(-1).mean()} if self.targets.link == "sigmoid" else {}
        if self.calibrated is not None:
            found["calibrated"] = torch.tensor(
                float(self.calibrated.works()), device=targets.device
            )
        return found


def _chances(seed: int, rows: Rows, like: Tensor) -> Tensor:
    """A number in [0, 1) for each of the rows and classes of ``like`` (B, C), where that is."""
    places = rows[:, None] * like.shape[-1] + np.arange(like.shape[-1])
    return torch.from_numpy(rng.uniform(seed, places)).to(like)


@final
@recorded("mile")
@dataclass(eq=False)
class Mile(Algorithm):
    """Algorithm 1.

    Args:
        teacher, student: two learners of the same architecture.
        transmission: what the student is taught.
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
    _memory: Tensor | None = field(default=None, init=False)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        turn, targets = self.cycles(batch.step), self.labeler.targets
        begins = turn.begins and batch.part == 0
        if turn.first and begins:
            self.teacher.copy_from(self.student, self.at_copy)  # line 2
        if turn.first:  # lines 3-7, interaction
            learner, y, loss_of = self.teacher, batch.y, targets.interaction
        else:  # lines 8-13, imitation
            y, loss_of = self._pseudo(batch, turn, begins), targets.imitation
            learner = self.student
        loss = batch.mean(loss_of(learner(batch.x), y))
        learner.update(loss, batch)
        return _measured(self.labeler, turn, loss, y)

    def _pseudo(self, batch: Batch, turn: Turn, fresh: bool) -> Tensor:
        """ỹ of the batch (line 10)."""
        self.labeler.begin(self.teacher.infer, fresh)
        if self.labeler.images is None:
            return self.labeler.label(self.teacher.infer, batch)
        if self._memory is None or fresh:
            self._memory = self.labeler.label_all(self.teacher.infer, turn.cycle)
        return self.labeler.lookup(self._memory, batch)

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
        transmission, cycles: as in :class:`Mile`.
    """

    student: Learner
    teacher: nn.Module
    labeler: PseudoLabeler
    cycles: Cycles
    _memory: Tensor | None = field(default=None, init=False)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        turn, targets = self.cycles(batch.step), self.labeler.targets
        if turn.first:
            y, loss_of = batch.y, targets.interaction
        else:
            fresh = turn.begins and batch.part == 0
            y, loss_of = self._pseudo(batch, turn, fresh), targets.imitation
        loss = batch.mean(loss_of(self.student(batch.x), y))
        self.student.update(loss, batch)
        return _measured(self.labeler, turn, loss, y)

    def _pseudo(self, batch: Batch, turn: Turn, fresh: bool) -> Tensor:
        infer = Predictor((self.teacher,), self.labeler.targets.link, self.student.precision).logits
        if fresh:
            self.teacher.load_state_dict(self.student.model.state_dict())
        self.labeler.begin(infer, fresh)
        if self.labeler.images is None:
            return self.labeler.label(infer, batch)
        if self._memory is None or fresh:
            self._memory = self.labeler.label_all(infer, turn.cycle)
        return self.labeler.lookup(self._memory, batch)

    def predictors(self) -> dict[str, Predictor]:
        link = self.labeler.targets.link
        teacher = Predictor((self.teacher,), link, self.student.precision)
        return {"student": self.student.predictor(link), "teacher": teacher}


def _measured(labeler: PseudoLabeler, turn: Turn, loss: Tensor, y: Tensor) -> dict[str, Tensor]:
    if turn.first:
        return {"teacher_loss": loss.detach()}
    return {"student_loss": loss.detach(), **labeler.counted(y)}


@recorded("train-mile")
def train(setup: Setup, options: Options, run: Run) -> Mile | ContinuingMile:
    """MILe on the labelled images, and on unlabelled ones too where there are any (Section 4.2)."""
    _check(options)
    cycles = plan(setup.total, options.k_t, options.k_s)
    if options.student == "algorithm1":
        for line in _wasted(cycles, setup.total):
            setup.warn(line)
    bce = sigmoid_bce_sum if options.class_sum else sigmoid_bce
    calibrated = None
    if options.rho == "mixture":
        calibrated = _calibrated(setup, options)
        _few(calibrated, setup)
        targets = Targets(bce, calibrated, bce, "sigmoid")
    else:
        targets = make_targets(
            options.targets, rho=_rho(options), temperature=options.temperature, bce=bce
        )
    if options.sample:
        targets = Targets(targets.interaction, sample_bernoulli, targets.imitation, targets.link)
    stream = _stream(setup, cycles)
    images = setup.scan(stream.dataset) if options.relabel == "cycle" else None
    draws = rng.fold(setup.seed, "train", "pseudo-labels") if options.sample else None
    labeler = PseudoLabeler(targets, options.union, images, calibrated, draws)
    student = setup.learner(prior_bias=options.prior_bias)
    algorithm: Mile | ContinuingMile
    if options.student == "continuing":
        teacher = copy.deepcopy(student.model).requires_grad_(False)
        algorithm = ContinuingMile(student, teacher, labeler, cycles)
    else:
        teacher_learner = setup.learner(prior_bias=options.prior_bias)
        algorithm = Mile(
            teacher_learner, student, labeler, cycles, options.at_copy, options.evaluated_model
        )
    trained = run.train("train", algorithm, stream, **setup.budget())
    if calibrated is not None:
        _never(calibrated, run.log.records, setup)
    return trained


def _check(options: Options) -> None:
    """Refuse settings that contradict each other, or that nothing would look at."""
    if options.targets != "threshold" and (options.sample or options.union):
        raise UserError("--sample and --union are about label sets: they need --targets threshold")
    if options.targets != "threshold":
        why = f"with --targets {options.targets}, which has no label sets"
        refuse_unused(options, why, "rho", "class_sum")
    if options.targets != "soft":
        refuse_unused(options, "without --targets soft", "temperature")
    if options.sample:
        refuse_unused(options, "with --sample, which has no threshold", "rho")
    if options.student == "continuing":
        why = "with --student continuing, which is one network"
        refuse_unused(options, why, "at_copy", "evaluated_model")


def _rho(options: Options) -> float:
    assert options.rho != "mixture"
    if options.soft_sets:
        raise UserError("--soft-sets teaches probabilities of presence: it needs --rho mixture")
    return options.rho


def _calibrated(setup: Setup, options: Options) -> Calibrated:
    """Some of the labelled images, to calibrate each teacher on."""
    if options.targets != "threshold" or options.sample:
        raise UserError("--rho mixture makes label sets: it needs --targets threshold, no --sample")
    labels = setup.train.labels
    if not isinstance(labels, Single):
        raise UserError("--rho mixture needs images with one label each, and these have label sets")
    rows = np.flatnonzero(labels.known())
    few = np.random.default_rng(0).permutation(rows)[:CALIBRATED_ON]
    return Calibrated(setup.scan(setup.train.subset(np.sort(few))), options.soft_sets)


def _few(calibrated: Calibrated, setup: Setup) -> None:
    """Warn where it is known beforehand that no teacher will be calibrated."""
    if (images := len(calibrated.images.dataset)) < TRUSTED:
        setup.warn(
            f"--rho mixture needs {TRUSTED} labelled images to calibrate a teacher on, and these are "
            f"{images}: pseudo-labels are cut at rho {calibrated.otherwise} in all cycles"
        )


def _never(calibrated: Calibrated, records: list[Record], setup: Setup) -> None:
    """Warn where it turned out that no teacher was calibrated, in this attempt or an earlier one."""
    steps = [record["calibrated"] for record in records if "calibrated" in record]
    if len(calibrated.images.dataset) >= TRUSTED and steps and not any(steps):
        why = f" (in the last: {calibrated.why})" if calibrated.why else ""
        setup.warn(
            f"--rho mixture could calibrate the teacher of no cycle{why}: all pseudo-labels were cut at "
            f"rho {calibrated.otherwise}"
        )


def plan(total: int, k_t: int | None, k_s: int | None) -> Cycles:
    """The cycles of ``total`` steps. What is None is chosen so that whole cycles fill the budget.

    Of two that are given each cycle has just so many steps, and the last one may be cut. One that is given
    holds in every cycle; the student gets a third of the budget, or as near to it as whole cycles come,
    and not less than a quarter, where the given one leaves so much.

    Raises:
        UserError: one of the two would have no step.
    """
    if (k_t is not None and k_t < 1) or (k_s is not None and k_s < 1):
        raise UserError(f"k_t and k_s must be at least 1, got k_t={k_t}, k_s={k_s}")
    if k_t is not None and k_t >= total:
        raise UserError(
            f"the student would never learn: its turn comes after k_t={k_t} teacher steps, and there "
            f"are {total} in all; leave out or lower --k-t, or raise --epochs"
        )
    if k_t is not None and k_s is not None:
        return Cycles.of(k_t, k_s)
    if k_t is not None:
        count = max(1, min(2 * total // (3 * k_t), total // (k_t + 1)))
        return Cycles(total, count, total - count * k_t)
    if k_s is not None:
        if k_s >= total:
            raise UserError(
                f"k_s={k_s} leaves no step of {total} to the teacher: leave out or lower --k-s, or "
                "raise --epochs"
            )
        count = min(max(round(total / (3 * k_s)), -(-total // (4 * k_s))), total // (k_s + 1))
        return Cycles(total, count, count * k_s)
    if total < 2:
        raise UserError("mile needs two steps, one of the teacher and one of the student; got 1")
    return Cycles(total, max(1, min(10, total // 3)), max(1, total // 3))


def _wasted(cycles: Cycles, total: int) -> list[str]:
    """What is to be said of a budget that does not go to the student."""
    lines = []
    (_, student), begun = cycles.before(total), cycles.begin(cycles.cycle(total - 1))
    left = total - sum(begun)
    if student == begun[1]:
        lines.append(
            f"the last {left} of {total} steps are a teacher's that no student learns from: leave out "
            "--k-t or --k-s, and whole cycles fill the budget"
        )
    if student < total / 4:
        lines.append(
            f"the student has only {student} of {total} steps: lower --k-t, raise --k-s or leave one "
            "of them out"
        )
    return lines


@recorded("sample-bernoulli")
def sample_bernoulli(logits: Tensor) -> Tensor:
    """ỹ ~ Bernoulli(σ(logits)), (B, C) bool: the authors' alternative to the threshold."""
    return torch.bernoulli(logits.sigmoid()).bool()


def _stream(setup: Setup, cycles: Cycles) -> Stream:
    """Labelled images; where there are unlabelled ones, the student's steps see all of them."""
    if setup.unlabeled is None:
        return setup.stream()
    everything = setup.everything()
    order = AlternatingSampler(
        setup.order(everything, "labelled"),
        Epochs(np.arange(len(everything)), setup.seed, "everything"),
        cycles,
    )
    return setup.stream(dataset=everything, order=order)
