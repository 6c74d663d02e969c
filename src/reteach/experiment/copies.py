"""Copies among images, and across two sets: equal files, and pictures that look alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from ..data.contents import Contents
from ..data.dataset import Dataset
from ..data.decode import ImageError
from ..data.sources import Source
from ..relabel.dedup import ALIKE, Pairs, joined, near_pairs, same_bytes
from ..relabel.neighbours import EXACT_BELOW, nearest, normalised
from ..report.duplicates_page import Duplicate, Side
from .gallery import data_url
from .thumbnails import thumbnails

NEIGHBOURS, MOST = 10, 5000
"""As ``reteach dedup`` has them."""


@final
@dataclass(frozen=True, eq=False)
class Copies:
    """Pairs of copies.

    Args:
        equal: files with the same bytes.
        alike: further pictures whose grey thumbnails are within :data:`ALIKE`; None: too many images to
            compare all with all.
    """

    equal: Pairs
    alike: Pairs | None

    def all(self) -> Pairs:
        """Both, nearest first."""
        return self.equal if self.alike is None else joined(self.equal, self.alike)


def find(source: Source, against: Source | None = None, workers: int | None = None) -> Copies:
    """The copies within a source, or of another source in it."""
    other = None if against is None else Contents(against)
    equal = same_bytes(Contents(source), other, errors=(ImageError,))
    if max(len(source), 0 if against is None else len(against)) > EXACT_BELOW:
        return Copies(equal, None)
    broken: dict[int, str] = {}
    broken_there = broken if against is None else {}
    base = normalised(thumbnails(source, broken, workers))
    queries = base if against is None else normalised(thumbnails(against, broken_there, workers))
    single = against is None
    near = nearest(queries, base, NEIGHBOURS + single)
    pairs = near_pairs(near, single_set=single, most=MOST, skip=[equal])
    usable = ~np.isin(pairs.row, list(broken)) & ~np.isin(pairs.against, list(broken_there))
    return Copies(equal, pairs.take(usable & (pairs.distance <= ALIKE)))


def conflicting(pairs: Pairs | None, data: Dataset) -> int:
    """How many pairs within the source of a data set have two different labels."""
    if pairs is None:
        return 0
    names = dict(zip(data.rows.tolist(), map(sorted, data.labels.names()), strict=True))
    both = zip(pairs.row.tolist(), pairs.against.tolist(), strict=True)
    return sum(a in names and b in names and names[a] != names[b] for a, b in both)


def pictures(pairs: Pairs, data: Dataset, against: Source | None, most: int) -> list[Duplicate]:
    """The nearest pairs, to be looked at."""
    names = dict(zip(data.rows.tolist(), data.labels.names(), strict=True))

    def side(source: Source, row: int, label: str | None) -> Side:
        try:
            picture = data_url(source.read(row))
        except ImageError:
            picture = None
        return Side(source.items[row], picture, label)

    def label(row: int) -> str | None:
        return ", ".join(names[row]) if row in names else None

    found = []
    for number in range(min(most, len(pairs))):
        row, other = int(pairs.row[number]), int(pairs.against[number])
        there = label(other) if against is None else None
        if against is not None and against.class_of is not None:
            there = against.class_of[other]
        found.append(
            Duplicate(
                number + 1,
                side(data.source, row, label(row)),
                side(data.source if against is None else against, other, there),
                float(pairs.distance[number]),
                bool(pairs.same_bytes[number]),
            )
        )
    return found
