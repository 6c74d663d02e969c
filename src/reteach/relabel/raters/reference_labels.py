"""What is known of the items beside the raters' answers: original labels and gold labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...errors import UserError
from ...item_index import ItemIndex, rows_among
from ...labels import Single
from ...tables import LabelTable
from .consensus import EXPERTS
from .ratings import Ratings


def with_originals(ratings: Ratings, table: LabelTable) -> Ratings:
    """The ratings with the original labels of a label table, whose items they then are about.

    Items that nobody rated come in; they will keep their original label.

    Raises:
        UserError: a rated item is not in the table.
    """
    if not isinstance(table.labels, Single):
        raise ValueError("original labels are single")
    items = rows_among(ratings.items, table.items)
    if unknown := [ratings.items[i] for i in np.flatnonzero(items < 0).tolist()]:
        raise UserError(
            f"{len(unknown)} rated items are not among the original labels, first: {unknown[0]!r}"
        )
    known = set(table.labels.classes)
    classes = [*table.labels.classes, *(name for name in ratings.classes if name not in known)]
    mapped = rows_among(ratings.classes, classes)
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

    Gold items and gold classes that nobody was asked about come in too, as golden pairs without an answer: an
    item's golden pairs then tell its whole gold set, whatever gold the ratings had for it.

    Raises:
        UserError: none of the gold items has been rated.
    """
    if not {ratings.items[i] for i in np.unique(ratings.pair_item)} & set(table.items):
        raise UserError("none of the items with gold labels has been rated")
    return with_gold_sets(ratings, table.items, table.labels.names(), table.labels.classes)


def with_gold_sets(
    ratings: Ratings,
    named: Sequence[str],
    sets: Sequence[Sequence[str]],
    listed: Sequence[str] = (),
) -> Ratings:
    """As :func:`with_gold`, for gold sets by name.

    Args:
        named: (G,) items, each once.
        sets: (G,) the classes of each.
        listed: classes in the order in which those new to the ratings are to be appended.
    """
    items, classes = ItemIndex(ratings.items), ItemIndex(ratings.classes)
    at = items.rows(named, "").tolist()
    every = list(dict.fromkeys([*listed, *(name for own in sets for name in own)]))
    place = dict(zip(every, classes.rows(every, "").tolist(), strict=True))
    row_of = {item: row for row, item in enumerate(at)}
    names = [{place[name] for name in own} for own in sets]
    gold = ratings.gold.copy()
    asked: dict[int, set[int]] = {item: set() for item in at}
    pairs = zip(ratings.pair_item.tolist(), ratings.pair_class.tolist(), strict=True)
    for pair, (item, name) in enumerate(pairs):
        if item in row_of:
            gold[pair] = name in names[row_of[item]]
            asked[item].add(name)
    original = np.append(ratings.original, np.full(len(items) - len(ratings.items), -1))
    more = [
        (item, name, 1.0)
        for item, row in row_of.items()
        for name in sorted(names[row] - asked[item])
    ]
    more += [  # an empty gold set has to be told by a class that is not in it
        (item, max(0, int(original[item])), 0.0)
        for item, row in row_of.items()
        if not names[row] and not asked[item]
    ]
    return replace(
        ratings,
        items=items.names,
        classes=classes.names,
        pair_item=np.append(ratings.pair_item, [item for item, _, _ in more]),
        pair_class=np.append(ratings.pair_class, [name for _, name, _ in more]),
        gold=np.append(gold, [share for _, _, share in more]),
        ruled={p: by for p, by in ratings.ruled.items() if int(ratings.pair_item[p]) not in row_of},
        original=original,
    )


def gold_changed(before: Ratings, after: Ratings) -> list[str]:
    """Items whose true golden classes are others than before, of those that had golden pairs before."""
    golden = set(before.pair_item[before.golden].tolist())
    old, new = _true_gold(before), _true_gold(after)
    return [before.items[item] for item in sorted(golden) if old.get(item) != new.get(item)]


def _true_gold(ratings: Ratings) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for pair in np.flatnonzero(ratings.gold > EXPERTS).tolist():
        name = ratings.classes[ratings.pair_class[pair]]
        found.setdefault(int(ratings.pair_item[pair]), set()).add(name)
    return found
