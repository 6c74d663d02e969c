"""Tar shards of a store, copied to this machine a little before their images are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress

from ...errors import UserError
from ...labels import Rows
from ...processes import cores
from ...storage import Address, Vanished
from ...storage import shards as at_store
from ..sources.base import Source
from ..sources.blocks import shards_at_store
from .reader import Job, mapped

FETCHERS = min(4, cores())
"""Processes that copy shards, each two ahead of need."""


def at_hand(source: Source, jobs: Iterable[Job], coming: Iterable[Rows]) -> Iterator[Job]:
    """The same jobs, each handed on when the shards that it reads are here, and the next are on their way.

    Args:
        coming: the rows of the same jobs.

    Raises:
        UserError: the copies would push each other out, or the store cannot be reached.
    """
    before: set[Address] = set()
    with closing(mapped(_fetch, _arrivals(source, coming), FETCHERS)) as fetched:
        for job in jobs:
            now = shards_at_store(source, job[0])
            if not before:
                _refuse_too_many(now)
            for _ in now - before:
                next(fetched)
            before = now
            yield job


def _arrivals(source: Source, coming: Iterable[Rows]) -> Iterator[Address]:
    """The shards in the order in which they are needed."""
    before: set[Address] = set()
    for rows in coming:
        now = shards_at_store(source, rows)
        yield from sorted(now - before)
        before = now


def _fetch(where: Address) -> None:
    if at_store.stamp(where):  # of one that has vanished, each image says so
        with suppress(Vanished):
            at_store.fetched(where)


def _refuse_too_many(shards: set[Address]) -> None:
    if not shards:
        return
    sizes = [at_store.size(where) for where in shards]
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes on this machine, by torchrun
    ahead = 2 * FETCHERS
    taken = here * (sum(sizes) + ahead * max(sizes))
    if taken > (room := at_store.room()):
        raise UserError(
            f"--shuffle-shards: {len(sizes) * here} shards at a time and the next {ahead * here} take "
            f"{taken / 1e9:.3g} GB here, and {at_store.ROOM} leaves {room / 1e9:.3g}: read fewer, "
            "or make more room"
        )
