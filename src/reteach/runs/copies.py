"""What copies mean for a labelled data set: labels that disagree, and pictures to be looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..data.dataset import Dataset
from ..data.loading.decode import ImageError
from ..data.sources.base import Source
from ..duplicates.pairs import Pairs
from ..errors import UserError
from ..item_index import rows_among
from ..report.pages.duplicates import Duplicate, Side
from ..tables import read_labels
from .gallery import data_url


def conflicting(pairs: Pairs | None, data: Dataset) -> int:
    """How many pairs within the source of a data set have two different labels."""
    if pairs is None:
        return 0
    names = dict(zip(data.rows.tolist(), map(sorted, data.labels.names()), strict=True))
    both = zip(pairs.row.tolist(), pairs.against.tolist(), strict=True)
    return sum(a in names and b in names and names[a] != names[b] for a, b in both)


def pictures(pairs: Pairs, data: Dataset, against: Source | None, most: int) -> list[Duplicate]:
    """The nearest pairs within a labelled data set, or of another source in it, to be looked at."""
    names = dict(zip(data.rows.tolist(), data.labels.names(), strict=True))

    def side(row: int) -> Side:
        return _side(data.source, row, ", ".join(names[row]) if row in names else None)

    other = side if against is None else _side_of(against, labels_of(against, None))
    return _duplicates(pairs, side, other, most)


LabelOf = Callable[[int], str | None]
"""Row of a source -> the label of its image; None: it has none that is known."""


def labels_of(source: Source, table: Path | None) -> LabelOf:
    """Those of a label table, label sets as cat|dog; without one, those that the source itself has.

    Raises:
        UserError: no such table, or none of its items is among the images.
    """
    if table is None:
        own = source.class_of
        return lambda row: None if own is None else own[row]
    read = read_labels(table)
    at = rows_among(read.items, source.items)
    if not (at >= 0).any():
        raise UserError(
            f"{table}: none of its items is among the images, which are called like {source.items[0]!r}"
        )
    names = dict(zip(at.tolist(), read.labels.names(), strict=True))
    return lambda row: "|".join(sorted(names[row])) if row in names else None


def pictures_of_sources(
    pairs: Pairs, source: Source, against: Source, most: int, labels: LabelOf, others: LabelOf
) -> list[Duplicate]:
    """The same for two sources, under the labels of each."""
    return _duplicates(pairs, _side_of(source, labels), _side_of(against, others), most)


def _side_of(source: Source, labels: LabelOf) -> Callable[[int], Side]:
    """row -> one side of a pair."""
    return lambda row: _side(source, row, labels(row))


def _side(source: Source, row: int, label: str | None) -> Side:
    try:
        picture = data_url(source.read(row)) or None  # of features there is none
    except ImageError:
        picture = None
    return Side(source.items[row], picture, label)


def _duplicates(
    pairs: Pairs, side: Callable[[int], Side], against: Callable[[int], Side], most: int
) -> list[Duplicate]:
    return [
        Duplicate(
            number + 1,
            side(int(pairs.row[number])),
            against(int(pairs.against[number])),
            float(pairs.distance[number]),
            bool(pairs.same_bytes[number]),
        )
        for number in range(min(most, len(pairs)))
    ]
