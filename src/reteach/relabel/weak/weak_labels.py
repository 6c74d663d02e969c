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
from ...tables import read_labels


@final
@dataclass(frozen=True, eq=False)
class WeakLabels:
    """What tags say of the unlabelled images at ``rows`` (T,)."""

    labels: LabelSet
    rows: Rows

    def shares(self) -> Soft:
        """The classes of an image as shares of 1, by their multiplicity."""
        at, cls, weight = self.labels.pairs()
        whole = np.bincount(at, weight, minlength=len(self.rows))
        starts = np.searchsorted(at, np.arange(len(self.rows) + 1))
        share = (weight / whole[at]).astype(np.float32)
        return Soft(starts, cls, self.labels.classes, share)


def weak_labels(file: Path, items: Sequence[str], classes: Sequence[str]) -> WeakLabels:
    """The label table of hashtags or queries on some of ``items``; it may be about others too.

    Raises:
        UserError: no such table, an unknown class, or none of its items is among ``items``.
    """
    table = read_labels(file, classes=classes)
    rows = rows_among(table.items, items)
    use = rows >= 0
    use[use] = np.isin(np.flatnonzero(use), table.labels.pairs()[0])
    if not use.any():
        raise UserError(f"{file}: none of its items is an unlabelled image with a tag")
    return WeakLabels(table.labels.take(np.flatnonzero(use)), rows[use])
