"""What copies mean for a labelled data set: labels that disagree, and pictures to be looked at."""

from __future__ import annotations

from ..data.dataset import Dataset
from ..data.loading.decode import ImageError
from ..data.sources.base import Source
from ..duplicates.pairs import Pairs
from ..report.pages.duplicates import Duplicate, Side
from .gallery import data_url


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
