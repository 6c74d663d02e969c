"""What is known of the items beside the raters' answers: original labels and gold labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import UserError
from ..labels import Single
from ..tables import LabelTable
from .ratings import Ratings


def with_originals(ratings: Ratings, table: LabelTable) -> Ratings:
    """The ratings with the original labels of a label table, whose items they then are about.

    Items that nobody rated come in; they will keep their original label.

    Raises:
        UserError: a rated item is not in the table.
    """
    if not isinstance(table.labels, Single):
        raise ValueError("original labels are single")
    position = {item: row for row, item in enumerate(table.items)}
    unknown = [item for item in ratings.items if item not in position]
    if unknown:
        raise UserError(
            f"{len(unknown)} rated items are not among the original labels, first: {unknown[0]!r}"
        )
    known = set(table.labels.classes)
    classes = [*table.labels.classes, *(name for name in ratings.classes if name not in known)]
    index = {name: i for i, name in enumerate(classes)}
    items = np.array([position[item] for item in ratings.items], np.int64)
    mapped = np.array([index[name] for name in ratings.classes], np.int64)
    return replace(
        ratings,
        items=list(table.items),
        classes=classes,
        pair_item=items[ratings.pair_item],
        pair_class=mapped[ratings.pair_class],
        original=table.labels.index,
    )


def with_gold(ratings: Ratings, table: LabelTable) -> Ratings:
    """The ratings with all pairs of the items in a table of gold labels made golden.

    Raises:
        UserError: none of the gold items has been rated.
    """
    position = {item: row for row, item in enumerate(table.items)}
    row = np.array([position.get(item, -1) for item in ratings.items], np.int64)[ratings.pair_item]
    if not (row >= 0).any():
        raise UserError("none of the items with gold labels has been rated")
    names = table.labels.names()
    gold = ratings.gold.copy()
    for pair in np.flatnonzero(row >= 0).tolist():
        gold[pair] = ratings.classes[ratings.pair_class[pair]] in names[row[pair]]
    return replace(ratings, gold=gold)
