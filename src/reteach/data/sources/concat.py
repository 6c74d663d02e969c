"""Several sources as one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from ...labels import LabelSet, Multi, Single
from ..dataset import Dataset
from .base import Source, is_video


@final
@dataclass(frozen=True, eq=False)
class ConcatSource:
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
    def is_video(self) -> bool:
        """Whether they are videos, as those of the first source are."""
        return is_video(self.first)

    @cached_property
    def items(self) -> list[str]:
        """Item ids of both."""
        return [*self.first.items, *(self.prefix + item for item in self.second.items)]

    def read(self, row: int) -> NDArray[np.uint8]:
        """The image in a row, (H, W, 3) uint8."""
        n = len(self.first)
        return self.first.read(row) if row < n else self.second.read(row - n)


def with_unlabeled(labelled: Dataset, unlabeled: Dataset) -> Dataset:
    """Both data sets as one; nothing is known of the second's items.

    Label sets keep for each of these that every class is unknown: 8 bytes times C.
    """
    given, n = labelled.labels, len(unlabeled)
    labels: LabelSet
    if isinstance(given, Single):
        labels = Single(np.concatenate([given.index, np.full(n, -1)]), given.classes)
    elif isinstance(given, Multi):
        labels = _none_known(given, n)
    else:
        raise ValueError("soft labels cannot say that an image has none")
    return Dataset(
        ConcatSource(labelled.source, unlabeled.source),
        labels,
        np.concatenate([labelled.rows, unlabeled.rows + len(labelled.source)]),
        None
        if labelled.digests is None or unlabeled.digests is None
        else np.concatenate([labelled.digests, unlabeled.digests]),
    )


def _none_known(given: Multi, n: int) -> Multi:
    """The label sets, and ``n`` more items of which everything is unknown."""
    c = given.num_classes
    more = np.arange(1, n + 1)
    old = given.unknown or Multi.from_pairs(more[:0], more[:0], len(given), given.classes)
    unknown = Multi(
        np.concatenate([old.starts, old.starts[-1] + c * more]),
        np.concatenate([old.columns, np.tile(np.arange(c), n)]),
        given.classes,
    )
    starts = np.concatenate([given.starts, np.full(n, given.starts[-1])])
    return Multi(starts, given.columns, given.classes, unknown)
