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
  (:mod:`reteach.relabel.presence`) on its scores of some training images and on their given labels; what is
  more likely present than not is taught, or with ``--soft-sets`` the probability itself. While the scores
  do not tell present from absent, as at first, ρ is the paper's 0.25.
* *Lessons.* Figure 5 replaces the thresholded sets by soft or hard softmax labels: ``--lesson``.

The phase is arithmetic on the step, so the alternation has no state of its own. A teacher in its
inference mode costs one forward pass per student step: k_s / (k_t + k_s) / 3 of the training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from ..data.stream import Batch, Epochs, Scan, Stream, Turns
from ..engine.algorithm import Algorithm
from ..engine.evaluate import outputs
from ..engine.learner import Learner, Predictor
from ..engine.run import Run
from ..errors import UserError
from ..labels import Single
from ..losses import sigmoid_bce, sigmoid_bce_sum
from ..models.presence import Presence
from ..relabel.presence import calibrate
from ..relabel.sketch import Sketch
from .distill import Lesson, lesson

if TYPE_CHECKING:
    from ..catalog import Mile as Options
    from ..engine.setup import Setup

AtCopy = Literal["keep", "copy", "reset"]
CALIBRATED_ON = 2000
"""Images that a teacher is calibrated on, at most: one short scan per cycle."""


@final
@dataclass(eq=False)
class Calibrated:
    """ỹ by calibration of the teacher, made anew in each cycle; without one, σ(logits) > ``otherwise``.

    Args:
        images: what the teacher is calibrated on, with one label each.
        soft: pass on the probabilities of presence instead of the sets.
        otherwise: the threshold where the scores cannot tell.
    """

    images: Scan
    soft: bool = False
    otherwise: float = 0.25
    _presence: Presence | None = field(default=None, init=False)
    _begun: bool = field(default=False, init=False)

    def begin(self, teacher: Callable[[Tensor], Tensor], fresh: bool) -> None:
        """Calibrate a teacher: a ``fresh`` one, or after a run was resumed the one that was at work."""
        if self._begun and not fresh:
            return
        sketch = Sketch(self.images.dataset.classes, bins=512)
        labels = self.images.dataset.labels
        assert isinstance(labels, Single)
        for rows, z in outputs(teacher, self.images):
            sketch.add(z.cpu().numpy(), labels.index[rows])
        self._presence, self._begun = None, True
        with suppress(UserError):  # too few images, or scores that are all the same
            found = calibrate(sketch, "sigmoid")
            self._presence = None if found.doubts else found.presence

    def __call__(self, logits: Tensor) -> Tensor:
        """(B, C) targets."""
        if self._presence is None:
            return logits.sigmoid() > self.otherwise
        p = self._presence(logits).sigmoid()
        return p if self.soft else p > 0.5


@final
@dataclass(frozen=True)
class Transmission:
    """What passes from a teacher to its student.

    Args:
        lesson: logits -> targets, and the losses of both phases.
        union: add the given label to each pseudo-label set.
        images: scan the data set once per cycle for the targets, instead of labelling each batch.
        calibrated: the lesson's targets, where they are made by calibration.
    """

    lesson: Lesson
    union: bool = False
    images: Scan | None = None
    calibrated: Calibrated | None = None

    def begin(self, teacher: Callable[[Tensor], Tensor], fresh: bool) -> None:
        """Make ready to teach; ``fresh`` at the first step of a teacher."""
        if self.calibrated is not None:
            self.calibrated.begin(teacher, fresh)

    def targets(self, teacher: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
        """(B, C) targets for this very batch."""
        return self._with_given(self.lesson.targets(teacher(batch.x)), batch)

    def recall(self, memory: Tensor, batch: Batch) -> Tensor:
        """(B, C) targets out of those of the whole data set."""
        return self._with_given(memory[batch.rows], batch)

    def _with_given(self, targets: Tensor, batch: Batch) -> Tensor:
        return torch.maximum(targets.float(), batch.y) if self.union else targets.float()

    def memorise(self, teacher: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, C) targets of the whole data set, in the lesson's own type (bool for label sets)."""
        assert self.images is not None
        memory: Tensor | None = None
        for rows, found in outputs(lambda x: self.lesson.targets(teacher(x)), self.images):
            if memory is None:
                n = len(self.images.dataset)
                memory = torch.zeros(n, found.shape[-1], dtype=found.dtype, device=found.device)
            memory[torch.from_numpy(rows)] = found.to(memory.device)
        if memory is None:
            raise UserError("no image could be read for the pseudo-labels of a cycle")
        return memory.to(self.images.prepare.device)


@final
@dataclass(eq=False)
class Mile(Algorithm):
    """Algorithm 1.

    Args:
        teacher, student: two learners of the same architecture.
        transmission: what the student is taught.
        k_t, k_s: steps of interaction and of imitation per cycle, ≥ 1.
        at_copy: what happens to the teacher's optimiser state when it takes the student's weights.
        judged: which of the two is *the* model.
    """

    teacher: Learner
    student: Learner
    transmission: Transmission
    k_t: int
    k_s: int
    at_copy: AtCopy = "keep"
    judged: Literal["student", "teacher"] = "student"
    _memory: Tensor | None = field(default=None, init=False)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        phase = batch.step % (self.k_t + self.k_s)
        if phase == 0:
            self.teacher.copy_from(self.student, self.at_copy)  # line 2
        if phase < self.k_t:  # lines 3-7, interaction
            learner, y, loss_of = self.teacher, batch.y, self.transmission.lesson.interaction
        else:  # lines 8-13, imitation
            learner, y, loss_of = (
                self.student,
                self._pseudo(batch, phase),
                self.transmission.lesson.imitation,
            )
        loss = batch.mean(loss_of(learner(batch.x), y))
        learner.update(loss, batch)
        return _measured(phase < self.k_t, loss, y)

    def _pseudo(self, batch: Batch, phase: int) -> Tensor:
        """ỹ of the batch (line 10)."""
        fresh = phase == self.k_t and batch.part == 0
        self.transmission.begin(self.teacher.infer, fresh)
        if self.transmission.images is None:
            return self.transmission.targets(self.teacher.infer, batch)
        if self._memory is None or fresh:
            self._memory = self.transmission.memorise(self.teacher.infer)
        return self.transmission.recall(self._memory, batch)

    def predictors(self) -> dict[str, Predictor]:
        link = self.transmission.lesson.link
        both = {"student": self.student.predictor(link), "teacher": self.teacher.predictor(link)}
        return {self.judged: both[self.judged]} | both


@final
@dataclass(eq=False)
class ContinuingMile(Algorithm):
    """The authors' code: one network runs on; its teacher is a frozen copy made after the k_t steps.

    Args:
        student: the one learner, used in both phases.
        teacher: a module of the same architecture, overwritten at each cycle.
        transmission, k_t, k_s: as in :class:`Mile`.
    """

    student: Learner
    teacher: nn.Module
    transmission: Transmission
    k_t: int
    k_s: int
    _memory: Tensor | None = field(default=None, init=False)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        phase = batch.step % (self.k_t + self.k_s)
        lesson = self.transmission.lesson
        if phase < self.k_t:
            y, loss_of = batch.y, lesson.interaction
        else:
            y, loss_of = self._pseudo(batch, phase), lesson.imitation
        loss = batch.mean(loss_of(self.student(batch.x), y))
        self.student.update(loss, batch)
        return _measured(phase < self.k_t, loss, y)

    def _pseudo(self, batch: Batch, phase: int) -> Tensor:
        infer = Predictor(
            (self.teacher,), self.transmission.lesson.link, self.student.precision
        ).logits
        fresh = phase == self.k_t and batch.part == 0
        if fresh:
            self.teacher.load_state_dict(self.student.model.state_dict())
        self.transmission.begin(infer, fresh)
        if self.transmission.images is None:
            return self.transmission.targets(infer, batch)
        if self._memory is None or fresh:
            self._memory = self.transmission.memorise(infer)
        return self.transmission.recall(self._memory, batch)

    def predictors(self) -> dict[str, Predictor]:
        link = self.transmission.lesson.link
        teacher = Predictor((self.teacher,), link, self.student.precision)
        return {"student": self.student.predictor(link), "teacher": teacher}


def _measured(interaction: bool, loss: Tensor, y: Tensor) -> dict[str, Tensor]:
    loss = loss.detach()
    if interaction:
        return {"teacher_loss": loss}
    return {"student_loss": loss, "pseudo_labels": y.sum(-1).mean()}


def train(setup: Setup, options: Options, run: Run) -> Mile | ContinuingMile:
    """MILe on the labelled images, and on unlabelled ones too where there are any (Section 4.2)."""
    k_t, k_s = _schedule(options, setup.total)
    bce = sigmoid_bce_sum if options.class_sum else sigmoid_bce
    calibrated = None
    if options.rho == "mixture":
        calibrated = _calibrated(setup, options)
        what = Lesson(bce, calibrated, bce, "sigmoid")
    else:
        what = lesson(options.lesson, rho=_rho(options), temperature=options.temperature, bce=bce)
    if options.sample:
        what = Lesson(what.interaction, drawn, what.imitation, what.link)
    if options.lesson != "threshold" and (options.sample or options.union):
        raise UserError("--sample and --union are about label sets: they need --lesson threshold")
    stream = _stream(setup, k_t, k_s)
    images = setup.scan(stream.dataset) if options.relabel == "cycle" else None
    transmission = Transmission(what, options.union, images, calibrated)
    student = setup.learner(prior_bias=options.prior_bias)
    algorithm: Mile | ContinuingMile
    if options.student == "continuing":
        teacher = copy.deepcopy(student.model).requires_grad_(False)
        algorithm = ContinuingMile(student, teacher, transmission, k_t, k_s)
    else:
        teacher_learner = setup.learner(prior_bias=options.prior_bias)
        algorithm = Mile(
            teacher_learner,
            student,
            transmission,
            k_t,
            k_s,
            options.at_copy,
            options.judged,
        )
    return run.train("train", algorithm, stream, **setup.budget())


def _rho(options: Options) -> float:
    if options.rho == "mixture" or not 0 < options.rho < 1:
        raise UserError(f"rho must lie in (0, 1) or be mixture, got {options.rho}")
    if options.soft_sets:
        raise UserError("--soft-sets teaches probabilities of presence: it needs --rho mixture")
    return options.rho


def _calibrated(setup: Setup, options: Options) -> Calibrated:
    """Some of the labelled images, to calibrate each teacher on."""
    if options.lesson != "threshold" or options.sample:
        raise UserError("--rho mixture makes label sets: it needs --lesson threshold, no --sample")
    labels = setup.train.labels
    if not isinstance(labels, Single):
        raise UserError("--rho mixture needs images with one label each, and these have label sets")
    rows = np.flatnonzero(labels.known())
    few = np.random.default_rng(0).permutation(rows)[:CALIBRATED_ON]
    return Calibrated(setup.scan(setup.train.subset(np.sort(few))), options.soft_sets)


def _schedule(options: Options, steps: int) -> tuple[int, int]:
    """(k_t, k_s): as told, or ten cycles with twice as many teacher as student steps."""
    k_t = max(1, steps // 15) if options.k_t is None else options.k_t
    k_s = max(1, k_t // 2) if options.k_s is None else options.k_s
    if k_t < 1 or k_s < 1:
        raise UserError(f"k_t and k_s must be at least 1, got k_t={k_t}, k_s={k_s}")
    if k_t >= steps:
        raise UserError(
            f"the student would never learn: its turn comes after k_t={k_t} teacher steps, and there "
            f"are {steps} in all; lower --k-t or raise --epochs"
        )
    return k_t, k_s


def drawn(logits: Tensor) -> Tensor:
    """ỹ ~ Bernoulli(σ(logits)), (B, C) bool: the authors' alternative to the threshold."""
    return torch.bernoulli(logits.sigmoid()).bool()


def _stream(setup: Setup, k_t: int, k_s: int) -> Stream:
    """Labelled images; where there are unlabelled ones, the student's steps see all of them."""
    if setup.unlabeled is None:
        return setup.stream()
    everything = setup.everything()
    labelled = np.flatnonzero(everything.labels.known())
    order = Turns(
        Epochs(labelled, setup.seed, "labelled"),
        Epochs(np.arange(len(everything)), setup.seed, "everything"),
        k_t,
        k_s,
    )
    return setup.stream(dataset=everything, order=order)
