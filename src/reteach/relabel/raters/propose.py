"""Label proposals from the scores of several models (ReaL, Appendix A).

From every model the pairs (item, class) among its 3·N largest logits and its 3·N largest
probabilities are brought up, over all images together; pairs that were brought up a single time by
a single model are dropped; every model's first prediction and the original label are always added.

A pair that one model brings up twice, by logit and by probability, stays. Ties go to the smaller
item, then to the smaller class, so that the outcome does not depend on the order of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...item_index import ItemIndex
from ...scores.table import ScoreTable
from .proposals import Proposals

Indices = NDArray[np.int64]


class Largest:
    """The ``k`` largest values of a stream, with their keys; ties go to the smaller key.

    Holds 2k + one batch of values at most; a value below the k-th so far is dropped at once.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self._floor = -np.inf
        self._keys: list[Indices] = []
        self._values: list[NDArray[np.float32]] = []
        self._held = 0

    def add(self, keys: Indices, values: NDArray[np.float32]) -> None:
        """One more batch, both (B,)."""
        keep = values >= self._floor
        self._keys.append(keys[keep])
        self._values.append(values[keep])
        self._held += int(keep.sum())
        if self._held > 2 * self.k:
            self._shrink()

    def keys(self) -> Indices:
        """The keys of the k largest, sorted, each once."""
        self._shrink()
        return np.unique(self._keys[0])

    def _shrink(self) -> None:
        keys = np.concatenate([np.empty(0, np.int64), *self._keys])
        values = np.concatenate([np.empty(0, np.float32), *self._values])
        if len(keys) > self.k:
            floor = np.partition(values, len(values) - self.k)[len(values) - self.k]
            above, level = np.flatnonzero(values > floor), np.flatnonzero(values == floor)
            level = level[np.argsort(keys[level], kind="stable")][: self.k - len(above)]
            chosen = np.concatenate([above, level])
            keys, values, self._floor = keys[chosen], values[chosen], float(floor)
        self._keys, self._values, self._held = [keys], [values], len(keys)


@dataclass(frozen=True, eq=False)
class Nominations:
    """What one model brings up; a pair is the key ``item · C + class``."""

    by_score: Indices
    """Sorted keys of its largest probabilities."""
    by_logit: Indices
    """Sorted keys of its largest logits; empty where the table has none."""
    first: Indices
    """(N,) class of its first prediction."""


def nominate(
    table: ScoreTable,
    items: ItemIndex,
    classes: Sequence[str],
    per_item: float = 3.0,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> Nominations:
    """One pass over a model's scores, in memory of order N · ``per_item``.

    Args:
        items: the closed index of the N items.
        per_item: so many pairs per item are brought up on average by each of the two rankings.
        on_progress: called with the number of rows read so far.

    Raises:
        UserError: an item without a score, and what :meth:`ScoreTable.batches` raises.
    """
    n, width = len(items), len(classes)
    by_score, by_logit = Largest(round(per_item * n)), Largest(round(per_item * n))
    best = np.full(n, -np.inf, np.float32)
    first = np.full(n, width, np.int64)
    rows = 0
    for batch in table.batches(items, classes):
        key = batch.item * width + batch.cls
        by_score.add(key, batch.score)
        if batch.logit is not None:
            by_logit.add(key, batch.logit)
        before = best.copy()
        np.maximum.at(best, batch.item, batch.score)
        first[best > before] = width
        hits = batch.score == best[batch.item]
        np.minimum.at(first, batch.item[hits], batch.cls[hits])
        rows += len(key)
        on_progress(rows)
    if (first == width).any():
        missing = np.flatnonzero(first == width)
        raise UserError(
            f"{table.path}: {len(missing)} of {n} items have no score, "
            f"first: {items.names[int(missing[0])]!r}"
        )
    return Nominations(by_score.keys(), by_logit.keys(), first)


def propose(
    models: dict[str, Nominations], items: list[str], classes: list[str], original: Indices
) -> Proposals:
    """Pool what the models bring up, by the rule of the module's docstring.

    Args:
        original: (N,) class index of the original label, -1 where there is none.
    """
    width, rows = len(classes), np.arange(len(items))
    lists = [keys for m in models.values() for keys in (m.by_score, m.by_logit)]
    listed, votes = np.unique(np.concatenate(lists), return_counts=True)
    firsts, top1 = np.unique(
        np.concatenate([rows * width + m.first for m in models.values()]), return_counts=True
    )
    given = (rows * width + original)[original >= 0]
    keys = np.unique(np.concatenate([listed[votes > 1], firsts, given]))
    return Proposals(
        items,
        classes,
        list(models),
        keys // width,
        keys % width,
        _looked_up(keys, listed, votes),
        _looked_up(keys, firsts, top1),
        np.isin(keys, given, assume_unique=True),
    )


def support(models: Sequence[Nominations], keys: Indices, width: int) -> NDArray[np.int8]:
    """(P, M) how far each model alone supports each pair: 2 enough, 1 half, 0 not at all.

    A set of models proposes a pair where its support adds up to at least 2: a first prediction is
    enough, otherwise it has to be brought up twice.
    """
    columns = []
    for model in models:
        times = np.isin(keys, model.by_score).astype(np.int8) + np.isin(keys, model.by_logit)
        columns.append(np.where(model.first[keys // width] == keys % width, 2, times))
    return np.stack(columns, axis=1).astype(np.int8)


def _looked_up(keys: Indices, known: Indices, counts: Indices) -> Indices:
    """(P,) the count of each key, 0 where it is not among the sorted ``known``."""
    if not len(known):
        return np.zeros(len(keys), np.int64)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, counts[at], 0)
