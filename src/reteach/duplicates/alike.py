"""All pictures that look alike, exactly: every pair of thumbnails within a distance, block by block.

Thumbnails are swept along the direction in which they differ most, and a k-d tree in few directions finds
the candidates of a block: distances can only shrink in a projection, so that no pair is missed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..labels import Rows
from .neighbours import Features
from .pairs import Pairs, joined, news
from .thumbnails import ALIKE

_DIRECTIONS, _BLOCK, _FIRST = 12, 1024, 64
_HITS, _AT_ONCE = 2**21, 2**14
"""Candidates of a block that are aimed at, and those that are compared together."""
_ROUNDING = 1e-5
"""The error of distances in single precision."""

Found = tuple[Rows, Rows, NDArray[np.float32]]
"""Rows of one picture and of the other, and their distance; arrays are (M,)."""


def close_pairs(thumbnails: Features, distance: float = ALIKE) -> Iterator[Found]:
    """All pairs of (N, D) ``thumbnails`` up to ``distance`` apart, each once; zeros are in none."""
    from scipy.spatial import cKDTree

    shown = np.flatnonzero(thumbnails.any(axis=1))
    if len(shown) < 2:
        return
    projected = _projected(thumbnails[shown])
    order = np.argsort(projected[:, -1], kind="stable")
    rows, projected = shown[order], projected[order]
    reach = distance + _ROUNDING
    ends = np.searchsorted(projected[:, -1], projected[:, -1] + reach, "right")
    start, size = 0, min(_BLOCK, _FIRST)
    while start < len(rows):
        block = projected[start : start + size]
        window = projected[start : ends[start + len(block) - 1]]
        near = cKDTree(block).sparse_distance_matrix(cKDTree(window), reach, output_type="ndarray")
        # where very many are alike, as the frames of a film are, blocks are small
        size = int(np.clip(_HITS * len(block) // len(near), 1, min(_BLOCK, 2 * size)))
        near = near[near["i"] < near["j"]]
        one, other = rows[start + near["i"]], rows[start + near["j"]]
        start += len(block)
        apart = _distances(thumbnails, one, other)
        keep = apart <= distance
        yield one[keep], other[keep], apart[keep]


def _distances(thumbnails: Features, one: Rows, other: Rows) -> NDArray[np.float32]:
    """(M,) from one to the other, a part at a time."""
    out = np.empty(len(one), np.float32)
    for at in range(0, len(one), _AT_ONCE):
        part = slice(at, at + _AT_ONCE)
        out[part] = np.linalg.norm(thumbnails[one[part]] - thumbnails[other[part]], axis=1)
    return out


def alike(
    thumbnails: Features,
    against: Features | None,
    known: Pairs,
    *,
    most: int,
    distance: float = ALIKE,
) -> Pairs:
    """The ``most`` nearest pairs of pictures that look alike, within a set or of another set in it.

    Args:
        known: pairs that are found already; neither they nor what follows from them is told again.
    """
    n = len(thumbnails)
    both = thumbnails if against is None else np.concatenate([thumbnails, against])
    kept = known.take(np.zeros(0, np.int64))
    for one, other, apart in close_pairs(both, distance):
        low, high = np.minimum(one, other), np.maximum(one, other)
        if against is None:
            row, there = high, low
        else:
            across = (low < n) & (high >= n)
            row, there, apart = low[across], high[across] - n, apart[across]
        fresh = news(row, there, known, single_set=against is None)
        found = Pairs(row, there, apart, np.zeros(len(row), bool)).take(fresh)
        kept = joined(kept, found).take(np.arange(min(most, len(kept) + len(found))))
    return kept


def _projected(thumbnails: Features) -> NDArray[np.float64]:
    """(N, ≤ D) the thumbnails in the directions in which they differ most, the first of these last."""
    mean = thumbnails.mean(axis=0, dtype=np.float64)
    spread = (thumbnails.T @ thumbnails) / len(thumbnails) - np.outer(mean, mean)
    _, directions = np.linalg.eigh(spread)
    return np.asarray(thumbnails @ directions[:, -_DIRECTIONS:], np.float64)
