"""What a published annotation format says of its images, before it becomes a label table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ...errors import UserError
from ...item_index import first_repeated
from ...labels import Multi
from ...tables import LabelTable


@final
@dataclass(frozen=True, eq=False, repr=False)
class Annotations:
    """N images with their classes.

    Args:
        items: (N,) paths relative to the image folder, with ``/`` between the parts.
        labels: the classes that are there, and those of which the format leaves it open.
    """

    items: tuple[str, ...]
    labels: Multi

    @staticmethod
    def of(
        items: Sequence[str],
        present: Sequence[tuple[int, int]],
        unknown: Sequence[tuple[int, int]],
        classes: Sequence[str],
    ) -> Annotations:
        """From (row, class) entries; what is present is not unknown.

        Raises:
            UserError: an image is listed twice, or there is none.
        """
        if not items:
            raise UserError("no image is listed")
        if (twice := first_repeated(items)) is not None:
            raise UserError(f"image {twice!r} is listed twice")
        there = set(present)
        open_ = _multi([entry for entry in unknown if entry not in there], len(items), classes)
        return Annotations(tuple(items), _multi(present, len(items), classes).with_unknown(open_))

    def table(self, source: str) -> LabelTable:
        """As a label table."""
        return LabelTable(self.items, self.labels, source)


def _multi(entries: Sequence[tuple[int, int]], n: int, classes: Sequence[str]) -> Multi:
    pairs = np.array(entries, np.int64).reshape(-1, 2)
    return Multi.from_pairs(pairs[:, 0], pairs[:, 1], n, classes)
