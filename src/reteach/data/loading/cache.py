"""Decoded images kept in memory, shared by all worker processes."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import UserError
from ...processes import WorkerFailure, cores, each
from ..sources.base import Source, SourceWrapper, is_video, shrunk
from .decode import ImageError


@final
class CachedSource(SourceWrapper):
    """The images of a source, decoded once.

    The pixels are in one block of memory that processes share, forked or spawned, and that goes with
    the last of them. Each training process has its own.

    Args:
        source: where the images come from.
        size: shorter sides are reduced to this (bilinear, antialiased); None keeps them.
        rows: which images to keep; by default all. The others cannot be read.
        max_bytes: the most memory to take; by default three quarters of what is free.
        workers: processes that decode.
        progress: told how many images are done.

    Raises:
        UserError: the images do not fit. A random sample tells that early.
    """

    def __init__(
        self,
        source: Source,
        size: int | None = None,
        *,
        rows: Sequence[int] | NDArray[np.int64] | None = None,
        max_bytes: int | None = None,
        workers: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        if size is not None and size < 1:
            raise UserError(f"images cannot be cached at a size of {size} pixels")
        n = len(source)
        self.source = source
        self._offsets = np.full(n, -1, np.int64)
        self._shapes = np.zeros((n, 4 if is_video(source) else 3), np.int64)
        self._broken: dict[int, str] = {}
        wanted = np.arange(n) if rows is None else np.unique(np.asarray(rows, np.int64))
        limit = free_memory() * 3 // 4 if max_bytes is None else max_bytes
        load = _Load(source if size is None else shrunk(source, 2 * size), size)
        crew = cores() if workers is None else workers
        buffer = _Buffer()
        # in random order, the images done so far are a fair sample of those to come
        order: list[int] = np.random.default_rng(0).permutation(wanted).tolist()
        for done, (row, result) in enumerate(each(load, order, crew), 1):
            if isinstance(result, WorkerFailure):
                self._broken[row] = result.reason
            elif isinstance(result, str):
                self._broken[row] = result
            else:
                self._shapes[row] = result.shape
                self._offsets[row] = buffer.append(result)
            needed = buffer.size * len(order) // done
            if buffer.size > limit or (done >= 200 and needed > 1.2 * limit):
                raise _too_large(needed, limit, len(order))
            if progress is not None:
                progress(done)
        self._buffer = buffer

    @property
    def nbytes(self) -> int:
        """Memory that the pixels take."""
        return self._buffer.size

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, a copy; raises ImageError."""
        if self._offsets[row] < 0:
            raise ImageError(self._broken.get(row, "not among the cached images"))
        shape = tuple(self._shapes[row].tolist())
        return self._buffer.view(int(self._offsets[row]), shape).copy()


def _too_large(needed: int, limit: int, n: int) -> UserError:
    gigabytes = [f"{count / 1e9:.3g} GB" for count in (needed, limit)]
    return UserError(
        f"the {n:,} decoded images would take about {gigabytes[0]} of memory, and {gigabytes[1]} may "
        "be used: choose a smaller --image-size, or leave out --cache"
    )


@final
@dataclass(frozen=True, eq=False)
class _Load:
    """row -> the image at its cached size, or why there is none."""

    source: Source
    size: int | None

    def __call__(self, row: int) -> NDArray[np.uint8] | str:
        try:
            pixels = self.source.read(row)
        except ImageError as error:
            return str(error)
        return pixels if self.size is None else reduced(pixels, self.size)


def reduced(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(H, W, C) uint8 with the shorter side reduced to ``size``; smaller images stay as they are. A
    video (T, H, W, C) likewise, frame by frame.

    Sizes are rounded as torchvision's ``Resize`` does, so that the result passes it unchanged.
    """
    if pixels.ndim == 4:
        return np.stack([reduced(frame, size) for frame in pixels])
    height, width, channels = pixels.shape
    short = min(height, width)
    if short <= size:
        return pixels
    shape = (int(size * width / short), int(size * height / short))
    image = Image.fromarray(pixels[..., 0] if channels == 1 else np.ascontiguousarray(pixels))
    small = np.asarray(image.resize(shape, Image.Resampling.BILINEAR))
    return small[..., None] if channels == 1 else small


@final
class _Buffer:
    """Bytes in memory that grow at the end and are shared by processes.

    A nameless file that lives in memory: unlike ``/dev/shm`` it has no size limit of its own, and it
    goes with the last process that has it open, however that ends. Where the system has no such files
    it is a temporary one.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("reteach-images")
        else:
            with tempfile.TemporaryFile() as file:
                self._fd = os.dup(file.fileno())
        self.size = 0
        self._open()

    def _open(self) -> None:
        self._map: NDArray[np.uint8] | None = None
        weakref.finalize(self, os.close, self._fd)

    def append(self, pixels: NDArray[np.uint8]) -> int:
        """Add an image; returns where it begins."""
        data = np.ascontiguousarray(pixels).data.cast("B")
        start = self.size
        try:
            while len(data):
                written = os.pwrite(self._fd, data, self.size)
                self.size += written
                data = data[written:]
        except OSError as error:
            raise UserError(
                f"no memory for more decoded images after {self.size / 1e9:.3g} GB "
                f"({os.strerror(error.errno or 0)}): leave out --cache"
            ) from None
        return start

    def view(self, start: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The image of that shape which begins at ``start``."""
        if self._map is None or len(self._map) < self.size:
            self._map = np.frombuffer(
                mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ), np.uint8
            )
        return self._map[start : start + int(np.prod(shape))].reshape(shape)

    def __getstate__(self) -> tuple[Any, int]:
        # the file itself travels to a spawned process, not its content
        return reduction.DupFd(self._fd), self.size

    def __setstate__(self, state: tuple[Any, int]) -> None:
        handle, self.size = state
        self._fd = handle.detach()
        self._open()


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its container."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = [_number(Path("/proc/meminfo"), "MemAvailable:", 1024) or pages // 2]
    group = Path("/sys/fs/cgroup")
    for most, taken, cached in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        if (limit := _number(group / most)) is not None:
            unused = _number(group / cached, "inactive_file ") or 0
            free.append(limit - (_number(group / taken) or 0) + unused)
    return max(0, min(free))


def _number(file: Path, label: str = "", unit: int = 1) -> int | None:
    try:
        for line in file.read_text().splitlines():
            if line.startswith(label):
                return int(line.removeprefix(label).split()[0]) * unit
    except (OSError, ValueError, IndexError):
        pass
    return None
