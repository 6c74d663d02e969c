"""Decoded images in memory that processes share: whoever wants one first decodes it, the others find it."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..sources.base import Source, SourceWrapper
from .decode import ImageError

_PLACE = struct.Struct("<q")  # where the pixels of an image begin, or one of these:
_ABSENT, _BROKEN = 0, -1
_SHAPE = struct.Struct("<4q")  # of the pixels; dimensions that there are not are 0
_ENTRY = _PLACE.size + _SHAPE.size


@final
class SharedSource(SourceWrapper):
    """The images of a source, each decoded once by whichever process wants it first.

    Processes that train side by side on the same images, such as the teachers of
    :mod:`reteach.methods.cpsd`, share one pass of decoding this way, and later passes need none. The
    pixels are those of the source. Once ``max_bytes`` are taken, the images that are not there yet are
    decoded by everybody for themselves.

    The pixels lie in a nameless file in memory, which goes with the last process that has it open. A lock
    per image says who is decoding it. The system frees the locks of a process that dies, and an image
    counts only when it is whole, so a process may be killed at any time.

    Args:
        source: where the images come from.
        max_bytes: the most memory to take.
    """

    def __init__(self, source: Source, max_bytes: int) -> None:
        self.source = source
        self.max_bytes = max_bytes
        # an entry per image, then the number of bytes taken so far, then the pixels
        self._taken_at = len(source) * _ENTRY
        self._start = self._taken_at + 8
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("reteach-shared")
        else:
            with tempfile.TemporaryFile() as file:
                self._fd = os.dup(file.fileno())
        os.ftruncate(self._fd, self._start + max_bytes)  # takes no memory until it is written
        self._open()

    def _open(self) -> None:
        self._map: mmap.mmap | None = None
        weakref.finalize(self, os.close, self._fd)

    @property
    def nbytes(self) -> int:
        """Memory that the pixels take so far."""
        return int.from_bytes(os.pread(self._fd, 8, self._taken_at), "little")

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, a copy; raises ImageError."""
        found = self.kept(row)
        if found is None:
            with self._locked(row):
                found = self.kept(row)  # by whoever had the lock before
                if found is None:
                    return self._decode(row)
        return found

    def kept(self, row: int) -> NDArray[np.uint8] | None:
        """A copy of what is there; None where nobody has decoded the image, or there was no room."""
        start = self._where(row)
        if start == _ABSENT:
            return None
        if start == _BROKEN:
            return self.source.read(row)  # which says what is wrong with it
        packed = os.pread(self._fd, _SHAPE.size, row * _ENTRY + _PLACE.size)
        shape = tuple(size for size in _SHAPE.unpack(packed) if size)
        count = int(np.prod(shape))
        if self._map is None or len(self._map) < start + count:
            self._map = mmap.mmap(self._fd, self._start + self.nbytes, access=mmap.ACCESS_READ)
        return np.frombuffer(self._map, np.uint8, count, start).reshape(shape).copy()

    def holds(self, row: int) -> bool:
        """Whether the image is there."""
        return self._where(row) > _ABSENT

    def _where(self, row: int) -> int:
        (start,) = _PLACE.unpack(os.pread(self._fd, _PLACE.size, row * _ENTRY))
        return int(start)

    def _decode(self, row: int) -> NDArray[np.uint8]:
        try:
            pixels = self.source.read(row)
        except ImageError:
            self._place(row, _BROKEN)
            raise
        start = self._room(pixels.nbytes) if pixels.nbytes else None
        if start is not None:
            data, at = np.ascontiguousarray(pixels).data.cast("B"), start
            try:
                while len(data):
                    written = os.pwrite(self._fd, data, at)
                    data, at = data[written:], at + written
            except OSError:
                return pixels  # no memory for it: the image is merely not kept
            shape = _SHAPE.pack(*(*pixels.shape, 0)[:4])
            os.pwrite(self._fd, shape, row * _ENTRY + _PLACE.size)
            self._place(row, start)  # last: from here on the image counts
        return pixels

    def _place(self, row: int, start: int) -> None:
        os.pwrite(self._fd, _PLACE.pack(start), row * _ENTRY)

    def _room(self, count: int) -> int | None:
        """Where so many bytes may be written; None if that is too much."""
        with self._locked(len(self)):
            taken = self.nbytes
            if taken + count > self.max_bytes:
                return None
            os.pwrite(self._fd, (taken + count).to_bytes(8, "little"), self._taken_at)
            return self._start + taken

    @contextmanager
    def _locked(self, number: int) -> Iterator[None]:
        """The lock of an image, or of the room, against other processes; one thread each."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, number)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, number)

    def __getstate__(self) -> dict[str, Any]:
        # the file itself travels to a spawned process, not its content
        state = {k: v for k, v in self.__dict__.items() if k not in ("_fd", "_map")}
        return state | {"handle": reduction.DupFd(self._fd)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._fd = state.pop("handle").detach()
        self.__dict__.update(state)
        self._open()
