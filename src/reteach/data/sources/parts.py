"""Images in parts, each small enough to be done again: tar shards, or blocks of any other source.

A part is opened only when its turn comes, in a process of its own and a little ahead of need; one that
cannot be opened is named and the rest goes on. All parts go through one set of decoding workers, so that
these never run dry between two parts.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import UserError
from ...item_index import first_repeated
from ...processes import WorkerFailure, each
from ...storage import address
from ...storage import shards as at_store
from ..item_ids import item_id
from ..loading.reader import Augment, Pixels, mapped, pixels
from .arrays import ArraySource
from .base import Source, open_source, shrunk, tell_lost
from .shards import ShardSource, expand, is_shards, open_shards

_PATIENCE = 3600.0
"""Seconds after which a shard is given up."""


class Parts(Protocol):
    """A numbered list of parts; small, and the same in every process."""

    @property
    def names(self) -> Sequence[str]:
        """What each is called, without an ending."""

    @property
    def sizes(self) -> Sequence[int]:
        """How much work each is, in ``unit``."""

    @property
    def unit(self) -> str:
        """The unit of the sizes."""

    @property
    def shared(self) -> Source | None:
        """The source of all parts, if they have one in common."""

    def open(self, numbers: Sequence[int]) -> Iterator[tuple[int, Opened | str]]:
        """Each part, or why it cannot be read, as they get ready."""

    def identity(self, number: int) -> str:
        """What tells a part from one of the same name in other images."""

    def newer(self, number: int, file: Path) -> str:
        """An image of the part, or its tar file, that was written after ``file``; empty: none is known."""


@final
@dataclass(frozen=True, eq=False)
class Opened:
    """A part that can be read.

    Args:
        source: its images are the rows from ``first`` on.
        items: their ids.
        lost: why it is not all there ("": it is).
        others: (item, reason) of what is in this part and no image to us.
    """

    source: Source
    items: Sequence[str]
    first: int = 0
    lost: str = ""
    others: Sequence[tuple[str, str]] = ()


@final
@dataclass(frozen=True)
class Read:
    """A batch of one part.

    Args:
        part: its number.
        items: of the batch.
        pixels: of the batch, and the (position, reason) of images that cannot be read.
        of: how many images the part has.
        last: nothing more of this part comes.
        lost: why the part is not all there ("": it is).
        others: (item, reason) of what is in the part and no image to us.
        class_of: class names of the items, where the images carry labels.
    """

    part: int
    items: Sequence[str]
    pixels: Pixels
    of: int
    last: bool
    lost: str
    others: Sequence[tuple[str, str]]
    class_of: Sequence[str] | None = None


@final
@dataclass(frozen=True)
class Failed:
    """A part that cannot be read."""

    part: int
    reason: str


@final
class TarParts:
    """One part for each tar file; no shard is opened before its turn comes."""

    unit = "MB"
    shared = None

    def __init__(self, where: str, videos: bool = False) -> None:
        self.shards, self.videos = expand(where), videos
        if not self.shards:
            raise UserError(f"no tar shards match {where}")
        self.names = [item_id(Path(shard).stem) for shard in self.shards]
        if (twice := first_repeated(self.names)) is not None:
            raise UserError(f"{where}: two shards are called {twice!r}")
        at_store.look(self.shards)
        self.sizes = [max(1, _bytes(shard) >> 20) for shard in self.shards]

    def open(self, numbers: Sequence[int]) -> Iterator[tuple[int, Opened | str]]:
        """In one process of their own: reading the headers of a shard takes a second.

        One ahead of need: copies of more shards of a store might push out some that are still to be read.
        """
        work = _OpenTar(self.shards, self.videos)
        for number, found in each(work, numbers, 1, _PATIENCE, ahead=1):
            if isinstance(found, WorkerFailure):
                yield number, found.reason
            elif isinstance(found, str):
                yield number, found
            else:
                tell_lost(found, item_id(self.shards[number]))
                damaged = found.damaged[0][1] if found.damaged else ""
                yield number, Opened(found, found.items, lost=damaged, others=found.others)

    def identity(self, number: int) -> str:
        """The path as it was given, and how items are called."""
        return f"{item_id(self.shards[number])} (shard/key)"

    def newer(self, number: int, file: Path) -> str:
        """The tar file."""
        shard = self.shards[number]
        try:
            return item_id(shard) if os.stat(shard).st_mtime_ns > file.stat().st_mtime_ns else ""
        except OSError:
            return ""


@final
class RowParts:
    """Blocks of ``block`` images of a source that knows all of its images."""

    unit = "images"

    def __init__(self, source: Source, block: int) -> None:
        self.shared = source
        self.block = block
        starts = range(0, len(source), block)
        self.names = [f"part-{number:06d}" for number in range(len(starts))]
        self.sizes = [min(block, len(source) - start) for start in starts]

    def open(self, numbers: Sequence[int]) -> Iterator[tuple[int, Opened | str]]:
        """They are open."""
        items = self.shared.items
        for number in numbers:
            first = number * self.block
            own = items[first : first + self.sizes[number]]
            yield number, Opened(self.shared, own, first)

    def identity(self, number: int) -> str:
        """A hash of the item ids, and of the pixels that are in memory."""
        rows = self._rows(number)
        own = "\0".join(self.shared.items[rows.start : rows.stop])
        digest = hashlib.blake2b(own.encode("utf-8", "surrogatepass"), digest_size=8)
        if isinstance(self.shared, ArraySource):
            pixels = np.ascontiguousarray(self.shared.images[rows.start : rows.stop])
            digest.update(pixels.view(np.uint8).data)
        return f"{self.sizes[number]} images {digest.hexdigest()}"

    def newer(self, number: int, file: Path) -> str:
        """The first image of a source that knows when its files were written."""
        return written_after(self.shared, self._rows(number), file)

    def _rows(self, number: int) -> range:
        first = number * self.block
        return range(first, first + self.sizes[number])


def written_after(source: Source, rows: Iterable[int], file: Path) -> str:
    """The first of these images that was written after ``file``; empty where none is known to be."""
    stamp: Callable[[int], str] | None = getattr(source, "stamp", None)
    if stamp is None:
        return ""
    made = file.stat().st_mtime_ns
    return next((source.items[row] for row in rows if _written(stamp(row)) > made), "")


def _written(stamp: str) -> int:
    """When the file of a stamp (size, time of its content, …) was written, in nanoseconds; 0: unknown."""
    return int(stamp.split(":")[1]) if stamp else 0


def images_per_part(where: str, asked: int | None, usual: int) -> int:
    """How many images a part has that is not a tar file.

    Raises:
        UserError: a number was asked for, and the parts are tar files.
    """
    if asked is not None and is_shards(where):
        raise UserError("--block has no effect on tar shards, each of which is one; leave it out")
    return usual if asked is None else asked


def open_parts(where: str, block: int, cache: Path | None = None, videos: bool = False) -> Parts:
    """The parts of what :func:`open_source` opens.

    Args:
        videos: what counts in tar shards are videos.

    Raises:
        UserError: nothing there, nothing in it, or nothing that is known.
    """
    if is_shards(where):
        return TarParts(where, videos)
    return RowParts(open_source(where, cache=cache), block)


def read_parts(
    parts: Parts,
    numbers: Sequence[int],
    augment: Augment,
    batch_size: int,
    *,
    workers: int = 0,
    pin: bool = False,
    at_least: int | None = None,
) -> Iterator[Read | Failed]:
    """All batches of the given parts; batches never cross parts.

    Args:
        at_least: decode large JPEGs no smaller than this on the shorter side.
    """
    shared = parts.shared
    smaller = shared if shared is None or at_least is None else shrunk(shared, at_least)
    work = _Decode(smaller, augment)
    ahead: deque[Read | Failed] = deque()  # what the loader has been asked for

    def jobs() -> Iterator[_Job]:
        for number, found in parts.open(numbers):
            if isinstance(found, str):
                ahead.append(Failed(number, found))
                continue
            classes, count = found.source.class_of, len(found.items)
            for start in range(0, count, batch_size):
                items = found.items[start : start + batch_size]
                last = start + batch_size >= count
                rows = np.arange(start, start + len(items)) + found.first
                named = None if classes is None else [classes[row] for row in rows.tolist()]
                ahead.append(
                    Read(number, items, (_NONE, []), count, last, found.lost, found.others, named)
                )
                yield (
                    (None, rows) if found.source is shared else _apart(found.source, rows, at_least)
                )

    for found in mapped(work, jobs(), workers, pin):
        while isinstance(ahead[0], Failed):
            yield ahead.popleft()
        read = ahead.popleft()
        assert isinstance(read, Read)
        yield replace(read, pixels=found)
    yield from ahead


_Job = tuple[Source | None, NDArray[np.int64]]
"""A source (None: the one that the workers have) and rows of it."""
_NONE = torch.zeros(0)


@final
@dataclass(frozen=True, eq=False)
class _Decode:
    """A job -> pixels; in the worker processes."""

    shared: Source | None
    augment: Augment

    def __call__(self, job: _Job) -> Pixels:
        source, rows = job
        source = self.shared if source is None else source
        assert source is not None
        return pixels(source, self.augment, rows, np.zeros(len(rows), np.int64))


@final
@dataclass(frozen=True, slots=True)
class _OpenTar:
    """Number of a shard -> its source, or why there is none."""

    shards: list[str]
    videos: bool

    def __call__(self, number: int) -> ShardSource | str:
        try:
            return open_shards(self.shards[number], videos=self.videos)
        except UserError as error:
            return str(error)


def _apart(source: Source, rows: NDArray[np.int64], at_least: int | None) -> _Job:
    """A job that takes what it needs of its source along."""
    assert isinstance(source, ShardSource)
    few = source.alone(rows, at_least)
    return few, np.arange(len(rows))


def _bytes(file: str) -> int:
    if (where := address(file)) is not None:
        return at_store.size(where)
    try:
        return os.stat(file).st_size
    except OSError:
        return 0
