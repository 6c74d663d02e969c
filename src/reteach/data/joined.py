"""Several sources as one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..labels import Single
from .dataset import Dataset
from .sources import Source, moving


@final
@dataclass(frozen=True, eq=False)
class Joined:
    """The images of two sources, one after the other; ids of the second get its prefix."""

    first: Source
    second: Source
    prefix: str = "unlabeled:"

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    @property
    def class_of(self) -> None:
        """Labels do not travel with a joined source."""

    @property
    def moving(self) -> bool:
        """Whether they are videos, as those of the first source are."""
        return moving(self.first)

    @cached_property
    def items(self) -> list[str]:
        """Item ids of both."""
        return [*self.first.items, *(self.prefix + item for item in self.second.items)]

    def read(self, row: int) -> NDArray[np.uint8]:
        """The image in a row, (H, W, 3) uint8."""
        n = len(self.first)
        return self.first.read(row) if row < n else self.second.read(row - n)


def with_unlabeled(labelled: Dataset, unlabeled: Dataset) -> Dataset:
    """Both data sets as one; the second's items have no label.

    Only single labels can say *unlabelled*; the labelled part must be ``Single``.
    """
    given = labelled.labels
    if not isinstance(given, Single):
        raise ValueError("only a data set of single labels can be joined with unlabelled images")
    index = np.concatenate([given.index, np.full(len(unlabeled), -1)])
    return Dataset(
        Joined(labelled.source, unlabeled.source),
        Single(index, given.classes),
        np.concatenate([labelled.rows, unlabeled.rows + len(labelled.source)]),
        None
        if labelled.digests is None or unlabeled.digests is None
        else np.concatenate([labelled.digests, unlabeled.digests]),
    )
