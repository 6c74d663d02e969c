"""What ``cpsd`` trains: which teachers, on which images, for how long; see :mod:`reteach.methods.cpsd`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, final

import numpy as np

from ..data.dataset import Dataset
from ..engine.run import Run
from ..errors import UserError
from ..labels import Rows
from ..options.shared import refuse_unused
from ..relabel.partition.class_subsets import Subsets
from ..relabel.partition.sides import named_sides, partition_sides

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import CpsdOptions as Options


def plan_sides(setup: Setup, options: Options, run: Run) -> dict[str, Subsets]:
    """Eqs. 1-2: the subsets of each side by its name; none where there are to be no teachers."""
    if options.subsets == 0 and options.partition is None:
        return {}
    labels = setup.train.labels
    k, tau, how = options.subsets, options.tau, options.partition_method
    cut = partial(partition_sides, labels, options.sides, k, tau=tau, how=how)
    compute = partial(cut, file=options.partition, seed=setup.seed)
    asked = (k, tau, how, options.sides, str(options.partition), setup.seed)
    found = run.once("partition", compute, labels=labels, asked=asked)
    return named_sides(found, options.sides, labels.classes)


@final
@dataclass(frozen=True, eq=False)
class TeacherPlan:
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


def plan_teachers(
    setup: Setup, options: Options, sides: dict[str, Subsets]
) -> tuple[list[TeacherPlan], list[list[str]]]:
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
    steps = _steps(setup, options, [len(rows) for _, _, rows in chosen])
    plans = [TeacherPlan(*teacher, count) for teacher, count in zip(chosen, steps, strict=True)]
    return plans, whose


def student_share(setup: Setup, options: Options, plans: list[TeacherPlan]) -> float:
    """What the teachers leave of the budget.

    Raises:
        UserError: nothing.
    """
    if not plans:
        return 1.0
    if options.teacher_epochs is None:
        return 1 - options.teacher_share
    spent = sum(plan.steps for plan in plans)
    if spent >= setup.total:
        raise UserError(
            f"--teacher-epochs {options.teacher_epochs:g} asks for {spent} steps of {len(plans)} teachers, "
            f"which leaves none of {setup.total} for the student: raise --epochs (the paper: 20 for each "
            "of ten teachers and 80 for the student are 280)"
        )
    return 1 - spent / setup.total


def _steps(setup: Setup, options: Options, images: list[int]) -> list[int]:
    """Batches of each teacher, by the number of its images."""
    if options.teacher_epochs is None:
        per_image = setup.total * options.teacher_share / max(1, sum(images))
    else:
        per_image = options.teacher_epochs / setup.training.batch_size
    return [max(1, round(per_image * count)) for count in images]


def narrowed(data: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The same images, with the labels of some classes only."""
    return data.with_labels(data.labels.restrict(classes))


def _images(setup: Setup, options: Options, name: str, classes: tuple[str, ...]) -> Rows:
    """The rows that a teacher learns from."""
    labels = narrowed(setup.train, classes).labels
    listed = ", ".join(map(repr, classes[:3])) + (", …" if len(classes) > 3 else "")
    if options.teacher_images == "all":
        rows = np.flatnonzero(labels.known())
    else:
        rows = np.unique(labels.pairs()[0])
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


def check(options: Options) -> None:
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
        refuse_unused(options, why, "teacher_epochs", "parallel", "imitation", "imitation_weight")
        refuse_unused(options, why, "temperature")
    elif options.subsets == 1:
        names = cut if options.twins else ("sides", *cut)
        refuse_unused(options, "with --subsets 1: all sides are alike", *names)
    if options.sides in ("random", "two-random"):
        refuse_unused(options, f"with --sides {options.sides}, which are drawn", *cut)
