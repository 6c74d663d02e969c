"""What of a source lies together: tar shards, and pieces of everything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ...storage import Address, address
from .base import Source, SourceWrapper, SubsetSource
from .concat import ConcatSource
from .shards import ShardSource

_PIECE = 1000
"""Images of what lies in no shard that count as one."""


def has_shards(source: Source) -> bool:
    """Whether some of the images lie in tar shards."""
    return any(isinstance(each, ShardSource) for each in _within(source))


def block_of(source: Source, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(M,) which block each of these rows is in: a tar shard, or a piece of what lies in none."""
    if isinstance(source, ConcatSource):
        second = rows >= len(source.first)
        found = np.empty(len(rows), np.int64)
        found[~second] = block_of(source.first, rows[~second])
        found[second] = block_of(source.second, rows[second] - len(source.first))
        found[second] += _count(source.first)
        return found
    if isinstance(source, SubsetSource):
        return block_of(source.source, source.rows[rows])
    if isinstance(source, SourceWrapper):
        return block_of(source.source, rows)
    if isinstance(source, ShardSource):
        return np.asarray(np.searchsorted(source.starts, rows, side="right") - 1, np.int64)
    return rows // _PIECE


def shards_at_store(source: Source, rows: NDArray[np.int64]) -> set[Address]:
    """The shards at a store in which some of these rows lie."""
    blocks, first, found = np.unique(block_of(source, rows)), 0, set()
    for each in _within(source):
        own = blocks[(blocks >= first) & (blocks < first + _count(each))] - first
        if isinstance(each, ShardSource):
            found |= _addresses(each.shards[number] for number in own.tolist())
        first += _count(each)
    return found


def every_shard_at_store(source: Source) -> set[Address]:
    """All shards of a source that are at a store."""
    found = (_addresses(each.shards) for each in _within(source) if isinstance(each, ShardSource))
    return set().union(*found)


def _within(source: Source) -> Iterator[Source]:
    """The sources that a source is put together from, in order."""
    if isinstance(source, ConcatSource):
        yield from _within(source.first)
        yield from _within(source.second)
    elif isinstance(source, SourceWrapper | SubsetSource):
        yield from _within(source.source)
    else:
        yield source


def _count(source: Source) -> int:
    """A number above those of all blocks of a source."""
    return sum(
        len(each.shards) if isinstance(each, ShardSource) else len(each) // _PIECE + 1
        for each in _within(source)
    )


def _addresses(shards: Iterable[str]) -> set[Address]:
    return {where for shard in shards if (where := address(shard)) is not None}
