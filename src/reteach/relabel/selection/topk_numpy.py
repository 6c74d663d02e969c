"""The K best items of every class for scores that fit in memory: the rule of :mod:`.topk`, in NumPy.

Both select the same rows in the same order (a test compares them): of each item the P classes of
highest score count, equal ones by class index; within a class the rows rank by score or logit, equal
ones by item id; the first K are picked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import atomic_path
from ...item_index import ItemIndex
from ...labels import LabelSet, Rows
from ...parquet import CHECKED
from ...scores.table import open_scores
from .score_shards import CLASSES, RULE
from .topk import SAMPLED, RankingRule, described


@dataclass(frozen=True, eq=False)
class Candidates:
    """M (item, class) pairs that may be picked; all arrays are (M,).

    Args:
        row: of the item, an index into a list of item ids.
        cls: index into the class list.
        score, logit: what the teacher says of the pair.
    """

    row: Rows
    cls: Rows
    score: NDArray[np.float32]
    logit: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.row)

    def keep(self, mask: NDArray[np.bool_]) -> Candidates:
        """Some of the pairs."""
        return Candidates(self.row[mask], self.cls[mask], self.score[mask], self.logit[mask])


@dataclass(frozen=True, eq=False)
class Picks:
    """Picked pairs, sorted by class and rank (from 1); all arrays are (number of picks,)."""

    row: Rows
    cls: Rows
    score: NDArray[np.floating]
    rank: Rows

    def __len__(self) -> int:
        return len(self.row)


def best(
    found: Candidates,
    items: Sequence[str],
    quotas: NDArray[np.int64],
    rule: RankingRule,
    exclude: Iterable[str] = (),
) -> Picks:
    """The first ``quotas[c]`` candidates of each class c by ``rule.by``.

    Args:
        found: at most ``rule.top`` classes of each item.
        items: the item ids that ``found.row`` indexes.
        quotas: (C,) see :mod:`.quotas`.
        exclude: items that are never picked.
    """
    found = found.keep((_allowed(items, exclude) & _drawn(items, rule))[found.row])
    if rule.minimum is not None:
        found = found.keep(found.score >= np.float32(rule.minimum))
    key = found.logit if rule.by == "logit" else found.score
    return _first(found.row, found.cls, found.score, -key, items, quotas)


def draw(
    tags: LabelSet,
    rows: Rows,
    items: Sequence[str],
    quotas: NDArray[np.int64],
    rule: RankingRule,
    exclude: Iterable[str] = (),
) -> Picks:
    """``quotas[c]`` of the items that are tagged with class c, at random ("balanced-with-tags").

    The draw of a pair is a function of seed, class name and item id alone, as in :mod:`.topk_sql`.

    Args:
        tags: of N items.
        rows: (N,) which of ``items`` they are of.
    """
    at, cls, weight = tags.pairs()
    use = (weight > 0) & (_allowed(items, exclude) & _drawn(items, rule))[rows[at]]
    row, cls = rows[at[use]], cls[use]
    score = np.array(
        [_chance(rule.seed, tags.classes[c], items[r]) for r, c in zip(row, cls, strict=True)],
        np.float64,
    )
    return _first(row, cls, score, -score, items, quotas)


def write_picks(
    path: Path,
    picks: Picks,
    items: Sequence[str],
    classes: Sequence[str],
    quotas: NDArray[np.int64],
    rule: RankingRule,
) -> None:
    """The picks as a table like that of ``reteach select``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = pa.float64() if rule.by == "random" else pa.float32()
    columns = {
        "item": pa.array(items, pa.string()).take(pa.array(picks.row)),
        "class": pa.array(picks.cls.astype(np.int32)),
        "score": pa.array(picks.score, number),
        "rank": pa.array(picks.rank.astype(np.int32)),
    }
    meta = {CLASSES: json.dumps(list(classes)), RULE: described(rule, quotas)}
    with atomic_path(path) as part:
        pq.write_table(pa.table(columns).replace_schema_metadata(meta), part, **CHECKED)


def read_picks(path: Path, items: Sequence[str], classes: Sequence[str]) -> tuple[Picks, int]:
    """The picks of a table that are among ``items``, and how many are not.

    Raises:
        UserError: no table of picks, of other classes, or none of its items is among ``items``.
    """
    table = open_scores(path)
    if table.classes is not None and set(table.classes) != set(classes):
        odd = min(set(table.classes) ^ set(classes))
        raise UserError(f"{path} is of another class list: {odd!r} is in one of them only")
    index = ItemIndex(items)
    parts = [(batch.item, batch.cls, batch.score) for batch in table.batches(index, classes)]
    if not parts:
        raise UserError(f"{path} holds no picks")
    row, cls, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    known = row < len(items)
    if not known.any():
        first = index.names[int(row[0])]
        raise UserError(
            f"{path}: none of its {len(row)} picks is among the images, first: {first!r}"
        )
    order = np.flatnonzero(known)
    order = order[np.argsort(cls[order], kind="stable")]
    row, cls, score = row[order], cls[order], score[order]
    return Picks(row, cls, score, _ranks(cls, len(classes))), int((~known).sum())


def without(picks: Picks, items: Sequence[str], exclude: Iterable[str]) -> Picks:
    """The picks that are not of an excluded item, with the ranks that they had."""
    kept = _allowed(items, exclude)[picks.row]
    return Picks(picks.row[kept], picks.cls[kept], picks.score[kept], picks.rank[kept])


def _allowed(items: Sequence[str], exclude: Iterable[str]) -> NDArray[np.bool_]:
    """(N,) which items are not excluded."""
    never = set(exclude)
    return np.fromiter((item not in never for item in items), np.bool_, len(items))


def _drawn(items: Sequence[str], rule: RankingRule) -> NDArray[np.bool_]:
    """(N,) which items are in the sample, by the same hash as in :mod:`.topk`."""
    if rule.sample is None:
        return np.ones(len(items), np.bool_)
    chances = (_chance(rule.sample_seed, SAMPLED, item) < rule.sample for item in items)
    return np.fromiter(chances, np.bool_, len(items))


def _first(
    row: Rows,
    cls: Rows,
    score: NDArray[np.floating],
    key: NDArray[np.floating],
    items: Sequence[str],
    quotas: NDArray[np.int64],
) -> Picks:
    """The first ``quotas[c]`` pairs of each class by ``key`` rising, then item id."""
    place = np.empty(len(items), np.int64)
    # the code points of strings order as the bytes of their UTF-8 do
    place[sorted(range(len(items)), key=items.__getitem__)] = np.arange(len(items))
    order = np.lexsort((place[row], key, cls))
    rank = _ranks(cls[order], len(quotas))
    kept = rank <= quotas[cls[order]]
    order = order[kept]
    return Picks(row[order], cls[order], score[order], rank[kept])


def _ranks(cls: Rows, classes: int) -> Rows:
    """1, 2, 3 … within each class, of class indices that are sorted."""
    starts = np.searchsorted(cls, np.arange(classes))
    return np.asarray(np.arange(len(cls)) - starts[cls] + 1, np.int64)


def _chance(seed: int, cls: str, item: str) -> float:
    """53 bits of a hash, in [0, 1)."""
    text = f"{seed}\x1f{cls}\x1f{item}".encode()
    low = int.from_bytes(hashlib.md5(text, usedforsecurity=False).digest()[8:], "little")
    return (low >> 11) / 2**53
