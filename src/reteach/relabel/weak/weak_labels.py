"""Weak labels of unlabelled images: a label table made from hashtags or queries, as training targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from ...errors import UserError
from ...item_index import rows_among
from ...labels import LabelSet, Rows, Soft
from ...scratch import GrowingArray
from ...tables import read_labels
from ...text_column import TextColumn
from .stored import stored_labels


@final
@dataclass(frozen=True, eq=False)
class WeakLabels:
    """What tags say of the unlabelled images at ``rows`` (T,)."""

    labels: LabelSet
    rows: Rows

    def shares(self) -> Soft:
        """The classes of an image as shares of 1, by their multiplicity."""
        columns, shares = GrowingArray(np.int64), GrowingArray(np.float32)
        starts, entries = GrowingArray(np.int64), 0
        starts.append(np.zeros(1, np.int64))
        for first, count, at, cls, weight in self.labels.blocks():
            whole = np.bincount(at - first, weight, minlength=count)
            starts.append(entries + np.cumsum(np.bincount(at - first, minlength=count)))
            columns.append(cls)
            shares.append((weight / whole[at - first]).astype(np.float32))
            entries += len(at)
        return Soft(starts.array(), columns.array(), self.labels.classes, shares.array())


def weak_labels(file: Path, items: Sequence[str], classes: Sequence[str]) -> WeakLabels:
    """The label table of hashtags or queries on some of ``items``; it may be about others too.

    A table of ``reteach relabel hashtags`` about images in order, as those of tar files are, is gone through
    block by block, and what it says lies in files. Any other is read into memory; both give the same.

    Raises:
        UserError: no such table, an unknown class, or none of its items is among ``items``.
    """
    found = stored_labels(file, items, classes) if isinstance(items, TextColumn) else None
    labels, rows = found or _in_memory(file, items, classes)
    if not len(rows):
        raise UserError(f"{file}: none of its items is an unlabelled image with a tag")
    return WeakLabels(labels, rows)


def _in_memory(file: Path, items: Sequence[str], classes: Sequence[str]) -> tuple[LabelSet, Rows]:
    table = read_labels(file, classes=classes)
    rows = rows_among(table.items, items)
    use = (rows >= 0) & table.labels.any_present()
    return table.labels.take(np.flatnonzero(use)), rows[use]
