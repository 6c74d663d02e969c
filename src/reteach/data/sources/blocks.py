"""What of a source lies together: tar shards, and pieces of everything else."""

from __future__ import annotations

from collections.abc import Iterable

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
    if isinstance(source, ConcatSource):
        return has_shards(source.first) or has_shards(source.second)
    if isinstance(source, SourceWrapper | SubsetSource):
        return has_shards(source.source)
    return isinstance(source, ShardSource)


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


def _count(source: Source) -> int:
    """A number above those of all blocks of a source."""
    if isinstance(source, ConcatSource):
        return _count(source.first) + _count(source.second)
    if isinstance(source, SourceWrapper | SubsetSource):
        return _count(source.source)
    return len(source.shards) if isinstance(source, ShardSource) else len(source) // _PIECE + 1


def shards_at_store(source: Source, rows: NDArray[np.int64]) -> set[Address]:
    """The shards at a store in which some of these rows lie."""
    if isinstance(source, ConcatSource):
        n = len(source.first)
        of_first = shards_at_store(source.first, rows[rows < n])
        return of_first | shards_at_store(source.second, rows[rows >= n] - n)
    if isinstance(source, SubsetSource):
        return shards_at_store(source.source, source.rows[rows])
    if isinstance(source, SourceWrapper):
        return shards_at_store(source.source, rows)
    if not isinstance(source, ShardSource):
        return set()
    own: Iterable[int] = np.unique(block_of(source, rows)).tolist()
    return {where for n in own if (where := address(source.shards[n])) is not None}


def every_shard_at_store(source: Source) -> set[Address]:
    """All shards of a source that are at a store."""
    if isinstance(source, ConcatSource):
        return every_shard_at_store(source.first) | every_shard_at_store(source.second)
    if isinstance(source, SourceWrapper | SubsetSource):
        return every_shard_at_store(source.source)
    shards = source.shards if isinstance(source, ShardSource) else ()
    return {where for shard in shards if (where := address(shard)) is not None}
