"""The copies in a source of images, and the groups that they form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np

from ..data.loading.decode import ImageError
from ..data.sources.base import Source, SubsetSource
from ..data.sources.contents import Contents
from ..labels import Rows
from ..progress import progress
from .alike import alike, close_pairs
from .looks import alike_distance, looks
from .neighbours import EXACT_BELOW, Features
from .pairs import Pairs, joined, same_bytes

MOST = 5000
"""Pairs of pictures that are not equal files, as ``reteach dedup`` keeps them."""


@final
@dataclass(frozen=True, eq=False)
class Copies:
    """Pairs of copies.

    Args:
        equal: files with the same bytes.
        alike: further pictures that look alike; None: too many images to look for them unasked.
        broken: item -> reason of the images that could not be looked at; of two sets those of the second.
    """

    equal: Pairs
    alike: Pairs | None
    broken: Mapping[str, str] = field(default_factory=dict)

    def all(self) -> Pairs:
        """Both, nearest first."""
        return self.equal if self.alike is None else joined(self.equal, self.alike)


@final
@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images to look for copies in.

    Args:
        source: the images.
        broken: collects row -> reason of those that cannot be used.
    """

    source: Source
    broken: dict[int, str] = field(default_factory=dict)

    def unreadable(self) -> dict[str, str]:
        """Those that cannot be used, by item."""
        items = self.source.items
        return {items[row]: reason for row, reason in self.broken.items()}

    def looks(self, workers: int | None) -> Features:
        """(N, D), see :func:`.looks.looks`."""
        return looks(self.source, self.broken, workers)


def equal_files(images: ImageSet, against: ImageSet | None = None) -> Pairs:
    """The pairs of files with the same bytes within a set of images, or of another set in it."""

    def unreadable(row: int, of_against: bool, error: Exception) -> None:
        which = against if against is not None and of_against else images
        which.broken[row] = str(error)

    other = None if against is None else Contents(against.source)
    total = len(images.source) + (len(other) if other is not None else 0)
    with progress("equal files", total) as on_progress:
        return same_bytes(Contents(images.source), other, on_progress, unreadable, (ImageError,))


def find(source: Source, against: Source | None = None, workers: int | None = None) -> Copies:
    """The copies within a source, or of another source in it."""
    images, other = ImageSet(source), None if against is None else ImageSet(against)
    equal = equal_files(images, other)
    if max(len(source), 0 if against is None else len(against)) > EXACT_BELOW:
        return Copies(equal, None, (other or images).unreadable())
    # zeros stand for images that cannot be read, and are like no other
    base = images.looks(workers)
    queries = None if other is None else other.looks(workers)
    broken = (other or images).unreadable()
    near = alike(base, queries, equal, most=MOST, distance=alike_distance(source))
    return Copies(equal, near, broken)


def groups(source: Source, rows: Rows, workers: int | None = None) -> Rows:
    """The group (N,) of each of the ``rows`` of a source: 0, 1, … in the order of first sight.

    Copies are of one group, and so on along chains. An image that cannot be read is a copy of no other.
    """
    different, position = np.unique(rows, return_inverse=True)
    looked_at = ImageSet(SubsetSource(source, different))
    equal = equal_files(looked_at)
    group = _first_of(len(different), equal.row, equal.against)
    small = looked_at.looks(workers)
    small[equal.row] = 0  # the first of equal files stands for all
    for one, other, _ in close_pairs(small, alike_distance(source)):
        group = _joined(group, one, other)
    return _by_first_sight(group[position])


def _by_first_sight(group: Rows) -> Rows:
    """(N,) the same groups, numbered in the order of their first members."""
    _, first, found = np.unique(group, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[found], np.int64)


def _first_of(n: int, row: Rows, against: Rows) -> Rows:
    """(n,) a component of the graph that has these edges, for each of its nodes."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = coo_matrix((np.ones(len(row), np.int8), (row, against)), shape=(n, n))
    return np.asarray(connected_components(edges, directed=False)[1], np.int64)


def _joined(group: Rows, one: Rows, other: Rows) -> Rows:
    """The groups (N,) after those of ``one`` and of ``other`` have become the same, pair by pair."""
    differ = group[one] != group[other]
    if not differ.any():
        return group
    n = int(group.max()) + 1
    return _first_of(n, group[one[differ]], group[other[differ]])[group]
