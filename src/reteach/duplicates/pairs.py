"""Pairs of images that stand in two sets, or twice in one: equal files first, then near pictures.

Billion-scale semi-supervised learning (Yalniz et al. 2019), supplement 5: features of the last pooled
layer, L2-normalised; for each evaluation image its nearest unlabelled images; all pairs sorted globally
by Euclidean distance, the top ones reviewed by eye and removed from the unlabelled set.

Added here: files with the same bytes are found first, without a model and without a threshold.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..labels import Rows
from .neighbours import Neighbours

T = TypeVar("T")
_Place = tuple[int, int]
"""Number of the set, and row in it."""


class Files(Protocol):
    """N stored files."""

    def __len__(self) -> int:
        """N."""

    def size(self, row: int) -> int:
        """Number of bytes; -1 where only reading would tell."""

    def content(self, row: int) -> bytes:
        """All bytes."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """M pairs of images, nearest first; arrays are (M,)."""

    row: NDArray[np.int64]
    """The image that would be removed."""
    against: NDArray[np.int64]
    """The image that it repeats; in a single set, an earlier one."""
    distance: NDArray[np.float32]
    same_bytes: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
        """Some of the pairs, by mask or index."""
        return Pairs(self.row[keep], self.against[keep], self.distance[keep], self.same_bytes[keep])

    def within(self, distance: float) -> NDArray[np.bool_]:
        """(M,) which pairs have the same bytes or are no further apart than this."""
        return self.same_bytes | (self.distance <= distance)


def same_bytes(
    files: Files,
    against: Files | None = None,
    on_progress: Callable[[int], object] | None = None,
    unreadable: Callable[[int, bool, Exception], object] | None = None,
    errors: tuple[type[Exception], ...] = (OSError,),
) -> Pairs:
    """Pairs of files with the same bytes, across two sets or within one.

    Only files whose size occurs twice are read at all.

    Args:
        on_progress: told how many files have been looked at.
        unreadable: told of files that raise one of ``errors``: row, whether it is of ``against``,
            and why. They are in no pair.
    """
    sets: list[Files] = [files] if against is None else [against, files]
    by_size: dict[int, list[_Place]] = defaultdict(list)

    def attempt(read: Callable[[int], T], place: _Place) -> T | None:
        try:
            return read(place[1])
        except errors as error:
            if unreadable is not None:
                unreadable(place[1], len(sets) == 2 and place[0] == 0, error)
            return None

    for number, one in enumerate(sets):
        for row in range(len(one)):
            size = attempt(one.size, (number, row))
            if size is not None:
                by_size[size].append((number, row))
    found: list[tuple[int, int]] = []
    done = 0
    for size, members in by_size.items():
        done += len(members)
        alone = len(members) == 1 or len({number for number, _ in members}) < len(sets)
        if size < 0 or not alone:
            by_content: dict[bytes, list[_Place]] = defaultdict(list)
            for place in members:
                content = attempt(sets[place[0]].content, place)
                if content is not None:
                    digest = hashlib.blake2b(content, digest_size=16).digest()
                    by_content[digest].append(place)
            found += [pair for group in by_content.values() for pair in _pairs_of(group, len(sets))]
        if on_progress is not None:
            on_progress(done)
    rows = np.array(sorted(found), np.int64).reshape(-1, 2)
    return Pairs(rows[:, 0], rows[:, 1], np.zeros(len(rows), np.float32), np.ones(len(rows), bool))


def near_pairs(
    found: Neighbours,
    *,
    single_set: bool,
    most: int,
    skip: Sequence[Pairs] = (),
    blank: tuple[Rows, Rows] | None = None,
    first: int = 0,
) -> Pairs:
    """All pairs of a search, sorted globally by distance.

    Args:
        found: the neighbours, in the set to be cleaned, of each evaluation image; in a single set,
            of each of its own images.
        most: keep only the so many nearest pairs.
        skip: pairs that are known already; in a single set, also those that follow from them (of three
            equal files two pairs are known, and the third is no news).
        blank: rows to be cleaned, and evaluation images, that have nothing to compare.
        first: the evaluation image whose neighbours stand first, where they are a part of all.
    """
    against = np.repeat(np.arange(len(found.index)) + first, found.index.shape[1])
    row, distance = found.index.ravel(), found.distance.ravel()
    keep = row >= 0
    if single_set:
        row, against = np.maximum(row, against), np.minimum(row, against)
        keep &= row != against
    if blank is not None:
        keep &= ~(np.isin(row, blank[0]) | np.isin(against, blank[1]))
    key = row << 32 | against
    for known in skip:
        keep &= news(row, against, known, single_set=single_set)
    order = np.flatnonzero(keep)
    order = order[np.lexsort((against[order], row[order], distance[order]))]
    _, once = np.unique(key[order], return_index=True)  # each pair once
    order = order[np.sort(once)][:most]
    return Pairs(row[order], against[order], distance[order], np.zeros(len(order), bool))


def news(row: Rows, against: Rows, known: Pairs, *, single_set: bool) -> NDArray[np.bool_]:
    """(M,) which pairs are neither among the ``known`` ones nor, in a single set, follow from them."""
    fresh = ~np.isin(row << 32 | against, known.row << 32 | known.against)
    if single_set and len(row) and len(known):
        first_of = np.arange(1 + max(row.max(), against.max(), known.row.max()))
        first_of[known.row] = known.against
        fresh &= first_of[row] != first_of[against]
    return fresh


def joined(first: Pairs, second: Pairs) -> Pairs:
    """Both lists, nearest first; equal files before pictures that only look equal."""
    both = Pairs(
        np.concatenate([first.row, second.row]),
        np.concatenate([first.against, second.against]),
        np.concatenate([first.distance, second.distance]),
        np.concatenate([first.same_bytes, second.same_bytes]),
    )
    return both.take(np.lexsort((both.against, both.row, ~both.same_bytes, both.distance)))


def _pairs_of(group: list[_Place], sets: int) -> list[tuple[int, int]]:
    """(row, against) within a group of equal files, given as (set, row)."""
    if sets == 1:
        rows = [row for _, row in group]
        return [(row, rows[0]) for row in rows[1:]]
    first = [row for place, row in group if place == 0]
    return [(row, other) for place, row in group if place == 1 for other in first]
