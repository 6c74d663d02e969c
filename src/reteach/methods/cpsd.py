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
* *Budget.* The paper gives 20 epochs to each teacher and 80 to the student. Here all share one budget
  of backward passes: the teachers get ``--teacher-share`` of it, each by the number of its images, so
  that all make the same number of epochs; the student gets the rest.
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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor, nn

from .. import rng
from ..data.dataset import Dataset
from ..data.loading.cache import free_memory
from ..data.loading.shared import SharedSource, in_memory
from ..data.loading.stream import Batch, Epochs, SubsetSampler
from ..engine import distributed
from ..engine.algorithm import Algorithm, Specialist
from ..engine.evaluate import outputs
from ..engine.learner import Learner, Predictor
from ..engine.log import Sink
from ..engine.parallel_training import train_parallel
from ..engine.run import Arrays, Run
from ..errors import UserError
from ..labels import Rows
from ..losses.standard import Loss, bernoulli_kl, squared_error
from ..options.shared import refuse_unused
from ..progress import progress
from ..recorded import recorded
from ..relabel.partition.class_subsets import Subsets, partition, random_subsets
from ..relabel.partition.cooccurrence import Cooccurrence, Side
from ..relabel.partition.cut import ROUNDS
from ..relabel.partition.decomposition import read_subsets
from .supervised import Supervised, asymmetric_loss

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import CpsdOptions as Options


@final
class Merged(nn.Module):
    """ρ of Eq. 5: the teachers of one side as one network for all classes.

    Args:
        teachers: for some of the classes each.
        subsets: their classes; together they hold each of ``classes`` once.
        classes: the order of the outputs.
    """

    def __init__(
        self, teachers: Sequence[nn.Module], subsets: Subsets, classes: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        place = {name: i for i, name in enumerate(name for subset in subsets for name in subset)}
        if len(place) != len(classes) or sum(map(len, subsets)) != len(classes):
            raise ValueError("each class needs one teacher per side")
        self.order = [place[name] for name in classes]

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> logits (B, C)."""
        return torch.cat([teacher(x) for teacher in self.teachers], -1)[:, self.order]


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


@final
@dataclass(frozen=True, eq=False)
class SubTask:
    """T_t: a teacher's classes, its images and its share of the budget.

    Args:
        name: of the teacher, and of its stage.
        classes: C_t, in class order.
        rows: of its images in the data set.
        steps: batches that it learns from.
    """

    name: str
    classes: tuple[str, ...]
    rows: Rows
    steps: int

    def train(self, setup: Setup, options: Options, run: Run, *sinks: Sink) -> Supervised:
        """Eq. 3: the teacher, trained now, resumed or loaded."""
        data = _narrowed(setup.train, self.classes).subset(self.rows)
        own = replace(setup, train=data, total=self.steps, judge=None)
        learner = own.learner(self.name, prior_bias=options.prior_bias, classes=self.classes)
        order = None
        if not setup.rebalance:
            whole = Epochs(np.arange(len(setup.train)), setup.seed, "teachers")
            order = SubsetSampler(whole, self.rows)
        stream = own.stream("teachers", order=order)
        algorithm = Supervised(learner, asymmetric_loss(options), "sigmoid")
        return run.branch(self.name, *sinks).train(self.name, algorithm, stream, **own.budget())


@final
@dataclass(frozen=True, eq=False)
class Elsewhere:
    """A teacher's training in a process of its own."""

    task: SubTask
    setup: Setup
    options: Options
    folder: Path
    seed: int
    snapshot_seconds: float

    @property
    def name(self) -> str:
        """Of the teacher."""
        return self.task.name

    def __call__(self, tell: Callable[[int], None]) -> dict[str, str]:
        """Train it; what it learned stays in its stage of the run folder."""
        run = Run(self.folder, self.seed, snapshot_seconds=self.snapshot_seconds, quiet=True)
        self.task.train(self.setup, self.options, run, lambda record: tell(record["step"]))
        return self.setup.broken


@recorded("train-cpsd")
def train(setup: Setup, options: Options, run: Run) -> Cpsd:
    """Partition, teachers, student."""
    _refuse_unused(options)
    if options.parallel > 1 and not in_memory(setup.train.source):
        shared = SharedSource(setup.train.source, free_memory() // 2)
        setup = replace(setup, train=replace(setup.train, source=shared))
    loss = asymmetric_loss(options)
    sides = _sides(setup, options, run)
    tasks, whose = _tasks(setup, options, sides)
    _at_once(tasks, setup, options, run)
    teachers = {
        task.name: Specialist(task.train(setup, options, run).predictors()["model"], task.classes)
        for task in tasks
    }
    classes = setup.train.classes
    merged = tuple(
        _merged([teachers[name] for name in names], classes, setup.model.precision)
        for names in whose
    )
    share = 1 - options.teacher_share if sides else 1.0
    student = Cpsd(
        setup.learner(steps=share, prior_bias=options.prior_bias),
        merged,
        loss,
        _imitation(options),
        options.imitation_weight,
        teachers,
        _said_of_all(setup, merged, run),
    )
    return run.train("train", student, setup.stream(), **setup.budget(share))


def _refuse_unused(options: Options) -> None:
    """Refuse settings that nothing would look at."""
    cut = ("tau", "partition_method")
    if options.imitation != "kl":
        refuse_unused(options, "without --imitation kl", "temperature")
    if options.imitation_weight == 0:
        why = "with --imitation-weight 0: the student does not listen"
        refuse_unused(options, why, "imitation", "temperature")
    if options.partition is not None:
        refuse_unused(options, "with --partition, which has the subsets", "subsets", *cut)
    elif options.subsets == 0:
        why = "with --subsets 0: there are no teachers"
        refuse_unused(options, why, "sides", *cut, "twins", "teacher_images", "teacher_share")
        refuse_unused(options, why, "parallel", "imitation", "imitation_weight", "temperature")
    elif options.subsets == 1:
        names = cut if options.twins else ("sides", *cut)
        refuse_unused(options, "with --subsets 1: all sides are alike", *names)
    if options.sides in ("random", "two-random"):
        refuse_unused(options, f"with --sides {options.sides}, which are drawn", *cut)


def _sides(setup: Setup, options: Options, run: Run) -> dict[str, Subsets]:
    """The subsets of each side by its name; none where there are to be no teachers."""
    if options.subsets == 0 and options.partition is None:
        return {}
    classes = setup.train.classes
    names = {"both": ("co", "dis"), "two-random": ("random", "again")}.get(
        options.sides, (options.sides,)
    )
    found = run.once(
        "partition",
        partial(_partitioned, setup, options, names),
        labels=setup.train.labels,
        asked=(
            options.subsets,
            options.tau,
            options.partition_method,
            options.sides,
            str(options.partition),
            setup.seed,
        ),
    )
    return {
        name: tuple(
            tuple(classes[c] for c in np.flatnonzero(found[name] == t))
            for t in range(int(found[name].max()) + 1)
        )
        for name in names
    }


def _partitioned(setup: Setup, options: Options, names: Sequence[str]) -> Arrays:
    """Side -> (C,) the subset of each class."""
    classes = setup.train.classes
    place = {name: i for i, name in enumerate(classes)}
    read = {} if options.partition is None else read_subsets(options.partition, classes)
    out = {}
    for number, name in enumerate(names):
        subsets = read.get(name)
        if subsets is None:
            k = len(next(iter(read.values()))) if read else options.subsets
            if name in ("co", "dis"):
                subsets = _cut(setup, k, "co" if name == "co" else "dis", options)
            else:
                subsets = random_subsets(classes, k, rng.fold(setup.seed, "subsets", number))
        out[name] = np.empty(len(classes), np.int64)
        for t, subset in enumerate(subsets):
            out[name][[place[member] for member in subset]] = t
    return out


def _cut(setup: Setup, k: int, side: Side, options: Options) -> Subsets:
    seen = Cooccurrence.of(setup.train.labels, "the training set")
    with progress(f"{k} subsets, {side}-occurrence", ROUNDS) as tell:
        return partition(
            seen, k, side, tau=options.tau, how=options.partition_method, tell=tell
        ).subsets


def _tasks(
    setup: Setup, options: Options, sides: dict[str, Subsets]
) -> tuple[list[SubTask], list[list[str]]]:
    """All teachers to train, and for each side the names of its own."""
    found: dict[tuple[str, ...], str] = {}
    chosen: list[tuple[str, tuple[str, ...], Rows]] = []
    whose: list[list[str]] = []
    for side, subsets in sides.items():
        whose.append([])
        for number, classes in enumerate(subsets, 1):
            name = f"{side}-{number}"
            if options.twins or classes not in found:
                chosen.append((name, classes, _images(setup, options, name, classes)))
                found[classes] = name
            whose[-1].append(found[classes])
    if len(chosen) == len(found):
        refuse_unused(options, "where no subset stands on both sides", "twins")
    budget = setup.total * options.teacher_share
    images = sum(len(rows) for _, _, rows in chosen)
    tasks = [
        SubTask(name, classes, rows, max(1, round(budget * len(rows) / images)))
        for name, classes, rows in chosen
    ]
    return tasks, whose


def _at_once(tasks: list[SubTask], setup: Setup, options: Options, run: Run) -> None:
    """Train several teachers at a time, if that is wanted; afterwards each is there to be loaded."""
    left = [task for task in tasks if run.trained(task.name) < task.steps]
    if min(options.parallel, len(left)) <= 1:
        return
    if run.folder is None or distributed.world() > 1:
        raise UserError("--parallel is for a single process with a run folder, not for torchrun")
    workers = max(1, setup.workers // options.parallel) if setup.workers else 0
    alone = replace(setup, judge=None, unlabeled=None, workers=workers)
    works = [
        Elsewhere(task, alone, options, run.folder, run.seed, run.snapshot_seconds) for task in left
    ]
    steps = sum(task.steps for task in left)
    setup.broken.update(train_parallel(works, options.parallel, "teachers", steps))


def _images(setup: Setup, options: Options, name: str, classes: tuple[str, ...]) -> Rows:
    """The rows that a teacher learns from."""
    narrowed = _narrowed(setup.train, classes)
    listed = ", ".join(map(repr, classes[:3])) + (", …" if len(classes) > 3 else "")
    if options.teacher_images == "all":
        rows = np.flatnonzero(narrowed.labels.known())
    else:
        rows = np.unique(narrowed.labels.pairs()[0])
        if len(classes) == 1 and len(setup.train.classes) > 1:
            raise UserError(
                f"subset {name} is class {listed} alone: on images that all have it a teacher learns "
                "nothing; use fewer --subsets, or --teacher-images all"
            )
    if not len(rows):
        raise UserError(
            f"subset {name} ({listed}) has no image to learn from: use fewer --subsets, another "
            "--partition, or --teacher-images all"
        )
    return rows


def _narrowed(data: Dataset, classes: tuple[str, ...]) -> Dataset:
    return data.with_labels(data.labels.restrict(classes))


def _merged(teachers: list[Specialist], classes: tuple[str, ...], precision: Any) -> Predictor:
    models = [teacher.predictor.models[0] for teacher in teachers]
    subsets = tuple(teacher.classes for teacher in teachers)
    return Predictor((Merged(models, subsets, classes),), "sigmoid", precision)


def _imitation(options: Options) -> Loss:
    if options.imitation == "kl":
        return Divergence(options.temperature)
    return squared_error if options.imitation == "sum" else mean_squared_error


@final
@recorded("bernoulli-kl-at")
@dataclass(frozen=True)
class Divergence:
    """:func:`reteach.losses.standard.bernoulli_kl` at a temperature."""

    temperature: float

    def __call__(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """The loss per example (B,)."""
        return bernoulli_kl(logits, teacher_logits, self.temperature)


@recorded("mean-squared-error")
def mean_squared_error(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """The square of Eq. 6 averaged over the classes: neither the paper nor its code."""
    return squared_error(logits, teacher_logits) / logits.shape[-1]


def _said_of_all(setup: Setup, sides: tuple[Predictor, ...], run: Run) -> Tensor | None:
    """The sides' logits of all images (sides, N, C), where an image always looks the same."""
    scan = setup.scan(setup.train)
    if not sides or setup.augment() != scan.augment:
        return None
    compute: Callable[[], Arrays] = partial(_logits, setup, sides)
    found = run.once("teachers-logits", compute, sides=sides, images=setup.train)
    return torch.from_numpy(found["logits"]).to(setup.device)


def _logits(setup: Setup, sides: tuple[Predictor, ...]) -> Arrays:
    scan = setup.scan(setup.train)
    out = np.zeros((len(sides), len(setup.train), len(setup.train.classes)), np.float32)

    def ask(x: Tensor) -> Tensor:
        return torch.stack([side.logits(x) for side in sides], 1)

    with progress("teachers' logits", len(setup.train)) as tell:
        done = 0
        for rows, said in outputs(ask, scan):
            out[:, rows] = said.cpu().numpy().swapaxes(0, 1)
            tell(done := done + len(rows))
    return {"logits": out}
