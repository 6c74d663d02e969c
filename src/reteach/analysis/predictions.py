"""The best classes of each item, from score tables of any size; and whether labels have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..item_index import ItemIndex
from ..labels import Multi
from ..scores.table import Column, ScoreRows, ScoreTable

Indices = NDArray[np.int64]
Scores = NDArray[np.float32]

NOTHING = -1  # stands where an item has fewer scores than places


def column_of(rows: ScoreRows, column: Column) -> Scores:
    """Scores or logits of a batch."""
    values = rows.score if column == "score" else rows.logit
    if values is None:
        raise ValueError("this table has no logits")
    return values


def top_classes(
    table: ScoreTable,
    items: ItemIndex,
    classes: Sequence[str],
    k: int,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> Indices:
    """(N, k) the classes of the k largest scores of each item; ties go to the smaller class.

    One pass over the table, in memory of order N · k and one batch.

    Args:
        items: the closed index of the N items.
        on_progress: called with the number of rows read so far.

    Raises:
        UserError: an item has no score.
    """
    n = len(items)
    best = np.full((n, k), -np.inf, np.float32)
    top = np.full((n, k), len(classes), np.int64)  # above every class: loses all ties
    rows = 0
    for batch in table.batches(items, classes):
        present, local = np.unique(batch.item, return_inverse=True)
        values, columns = _best(local, batch.cls, batch.score, len(present), len(classes), k)
        values = np.concatenate([best[present], values], axis=1)
        columns = np.concatenate([top[present], columns], axis=1)
        order = np.lexsort((columns, -values), axis=1)[:, :k]
        best[present] = np.take_along_axis(values, order, axis=1)
        top[present] = np.take_along_axis(columns, order, axis=1)
        rows += len(batch.item)
        on_progress(rows)
    missing = np.flatnonzero(top[:, 0] == len(classes))
    if len(missing):
        raise UserError(
            f"{table.path}: {len(missing)} of {n} items have no score, "
            f"first: {items.names[int(missing[0])]!r}"
        )
    top[top == len(classes)] = NOTHING
    return top


def contained(labels: Multi, predicted: Indices) -> NDArray[np.bool_]:
    """(N, k) whether each predicted class is among the item's labels."""
    rows, columns, _ = labels.pairs()
    key = np.append(rows * labels.num_classes + columns, np.iinfo(np.int64).max)  # sorted
    asked = np.arange(len(labels))[:, None] * labels.num_classes + predicted
    found = key[np.searchsorted(key, asked)] == asked
    return np.asarray(found & (predicted >= 0))


def _best(
    item: Indices, cls: Indices, score: Scores, n: int, width: int, k: int
) -> tuple[Scores, Indices]:
    """(n, k) largest scores of one batch and their classes, by taking the maximum k times."""
    values = np.full((n, k), -np.inf, np.float32)
    columns = np.full((n, k), width, np.int64)
    for place in range(min(k, len(item))):
        np.maximum.at(values[:, place], item, score)
        hits = score == values[item, place]
        np.minimum.at(columns[:, place], item[hits], cls[hits])
        rest = cls != columns[item, place]
        item, cls, score = item[rest], cls[rest], score[rest]
        if not len(item):
            break
    return values, columns
