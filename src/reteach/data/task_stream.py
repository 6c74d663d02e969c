"""Classes that arrive in turn, coarse ones before fine ones: IIRC (Abdelsalam et al., CVPR 2021).

Each task brings some classes and some images. An image carries only the label that its task is about: a dog
is *dog* while dogs are new, and later *poodle* without a word that it is a dog still. What has been seen is
gone, but for a few exemplars per class, which keep the label they had. Judged is by all labels that have been
introduced so far (IIRC, Section 3.1).

Symbols of the paper: tasks T, superclasses with their subclasses. Of the images of a subclass the first share
(``coarse``) carry the superclass's label, the last share (``fine``) the subclass's own; the shares may
overlap. The paper's CIFAR-100 has 0.4 and 0.8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from .. import rng
from ..errors import UserError
from ..item_index import first_repeated, rows_among
from ..labels import Multi, Rows, Single
from .dataset import Dataset


@final
@dataclass(frozen=True, eq=False)
class TaskStream:
    """A data set as a stream of tasks.

    Args:
        images: the N images, with the finest class of each.
        tasks: the classes that each task introduces.
        superclasses: superclass -> its subclasses; a class without a superclass stands for itself.
        coarse, fine: shares of a subclass's images that carry the superclass's label, and its own.
        seed: of the order in which images are shared out, and of the exemplars; None: as they come.

    Raises:
        UserError: a class twice, a class that is neither in the labels nor a superclass, a subclass under
            two superclasses, a superclass in one task with its subclass.
    """

    images: Dataset
    tasks: tuple[tuple[str, ...], ...]
    superclasses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    coarse: float = 0.4
    fine: float = 0.8
    seed: int | None = 0

    def __post_init__(self) -> None:
        if not isinstance(self.images.labels, Single):
            raise UserError("a stream of tasks needs one label per image, the finest class")
        named = [name for task in self.tasks for name in task]
        if (twice := first_repeated(named)) is not None:
            raise UserError(f"class {twice!r} is introduced twice")
        fine = [name for under in self.superclasses.values() for name in under]
        if (twice := first_repeated(fine)) is not None:
            raise UserError(f"class {twice!r} has two superclasses")
        known = {*self.images.classes, *self.superclasses}
        if odd := [name for name in (*named, *fine) if name not in known]:
            raise UserError(f"class {odd[0]!r} is no class of the images and no superclass")
        for task in self.tasks:
            for name in task:
                if both := set(task) & set(self.superclasses.get(name, ())):
                    raise UserError(
                        f"{name!r} and its subclass {min(both)!r} come in one task: an image would have "
                        "two labels there"
                    )

    def seen(self, number: int) -> tuple[str, ...]:
        """The classes of tasks 0 to ``number``, in the order in which they came."""
        return tuple(name for task in self.tasks[: number + 1] for name in task)

    def training(self, number: int, exemplars: int = 0) -> Dataset:
        """The images of a task with the label each carries there, and the exemplars of earlier tasks.

        Args:
            exemplars: kept of each class that an earlier task introduced.
        """
        classes = self.seen(number)
        rows, index = [], []
        for column, name in enumerate(classes):
            own = self._rows_of[name]
            if name not in self.tasks[number]:
                own = np.sort(self._shuffled(own, "exemplars", name)[:exemplars])
            rows.append(own)
            index.append(np.full(len(own), column))
        together = np.concatenate(rows)
        order = np.argsort(together, kind="stable")
        labels = Single(np.concatenate(index)[order], classes)
        return self.images.take(labels, together[order])

    def complete(self, number: int) -> Dataset:
        """All images of tasks 0 to ``number`` with all labels introduced so far: what an upper bound has."""
        rows = np.concatenate([self._rows_of[name] for name in self.seen(number)])
        return self._with_sets(self.images.subset(np.unique(rows)), self.seen(number))

    def judged(self, images: Dataset, number: int, task: int | None = None) -> Dataset:
        """Other images with all labels introduced up to task ``number``.

        Args:
            task: those that have a class of this task; by default of any so far, each image once.
        """
        asked = set(self.seen(number) if task is None else self.tasks[task])
        rows = [i for i, names in enumerate(self._names(images)) if asked & set(names)]
        return self._with_sets(images.subset(np.array(rows, np.int64)), self.seen(number))

    def _names(self, images: Dataset) -> list[tuple[str, ...]]:
        """Of each image its finest class, and that class's superclass."""
        above = {name: (top,) for top, under in self.superclasses.items() for name in under}
        labels = images.labels
        assert isinstance(labels, Single)
        each = [(name, *above.get(name, ())) for name in labels.classes]
        return [each[c] if c >= 0 else () for c in labels.index.tolist()]

    @cached_property
    def _rows_of(self) -> dict[str, Rows]:
        """class -> the images that carry it in its task."""
        labels = self.images.labels
        assert isinstance(labels, Single)
        above = {name: top for top, under in self.superclasses.items() for name in under}
        parts: dict[str, list[Rows]] = {}
        for column, name in enumerate(labels.classes):
            rows = self._shuffled(np.flatnonzero(labels.index == column), "share", name)
            n = len(rows)
            if name in above:
                parts.setdefault(above[name], []).append(rows[: int(self.coarse * n)])
                rows = rows[n - int(self.fine * n) :]
            parts.setdefault(name, []).append(rows)
        return {name: np.sort(np.concatenate(rows)) for name, rows in parts.items()}

    def _with_sets(self, images: Dataset, classes: tuple[str, ...]) -> Dataset:
        """The same images with all their labels among ``classes``."""
        each = self._names(images)
        rows = np.repeat(np.arange(len(each)), [len(names) for names in each])
        columns = rows_among((name for names in each for name in names), classes)
        there = columns >= 0
        sets = Multi.from_pairs(rows[there], columns[there], len(each), classes)
        return images.with_labels(sets)

    def _shuffled(self, rows: Rows, *what: str) -> NDArray[np.int64]:
        if self.seed is None:
            return rows
        return np.random.default_rng(rng.fold(self.seed, *what)).permutation(rows)
