"""Decoded images kept in memory, shared by all worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import UserError
from ...options.shared import Interpolation
from ...processes import WorkerFailure, cores, each
from ..sources.base import Source, SourceWrapper, shrunk
from .decode import ImageError
from .shared import SharedSource


@final
class CachedSource(SourceWrapper):
    """The images of a source, decoded once.

    The pixels are in memory that processes share, forked or spawned (:class:`.SharedSource`). Each
    training process has its own.

    Args:
        source: where the images come from.
        size: shorter sides are reduced to this (antialiased); None keeps them.
        interpolation: of that.
        rows: which images to keep; by default all. The others cannot be read.
        max_bytes: the most memory to take; by default three quarters of what is free.
        workers: processes that decode.
        on_progress: told how many images are done.

    Raises:
        UserError: the images do not fit. A random sample tells that early.
    """

    def __init__(
        self,
        source: Source,
        size: int | None = None,
        *,
        interpolation: Interpolation = "bilinear",
        rows: Sequence[int] | NDArray[np.int64] | None = None,
        max_bytes: int | None = None,
        workers: int | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> None:
        if size is not None and size < 1:
            raise UserError(f"images cannot be cached at a size of {size} pixels")
        self.source = source
        self._broken: dict[int, str] = {}
        wanted = np.arange(len(source)) if rows is None else np.unique(np.asarray(rows, np.int64))
        limit = free_memory() * 3 // 4 if max_bytes is None else max_bytes
        self._pixels = SharedSource(
            source if size is None else _Reduced(source, size, interpolation), limit
        )
        # in random order, the images done so far are a fair sample of those to come
        order: list[int] = np.random.default_rng(0).permutation(wanted).tolist()
        crew = cores() if workers is None else workers
        size_so_far = 0
        for done, (row, result) in enumerate(each(_Load(self._pixels), order, crew), 1):
            if isinstance(result, int):
                size_so_far += result
            else:
                self._broken[row] = result.reason if isinstance(result, WorkerFailure) else result
            needed = size_so_far * len(order) // done
            if size_so_far > limit or (done >= 200 and needed > 1.2 * limit):
                raise _too_large(needed, limit, len(order))
            if isinstance(result, int) and not self._pixels.holds(row):
                if self.nbytes + result > limit:  # others have taken the room that is left
                    raise _too_large(needed, limit, len(order))
                raise UserError(
                    f"no memory for more decoded images after {self.nbytes / 1e9:.3g} GB: leave out --cache"
                )
            if on_progress is not None:
                on_progress(done)

    @property
    def nbytes(self) -> int:
        """Memory that the pixels take."""
        return self._pixels.nbytes

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, a copy; raises ImageError."""
        found = None if row in self._broken else self._pixels.kept(row)
        if found is None:
            raise ImageError(self._broken.get(row, "not among the cached images"))
        return found


def _too_large(needed: int, limit: int, n: int) -> UserError:
    gigabytes = [f"{count / 1e9:.3g} GB" for count in (needed, limit)]
    return UserError(
        f"the {n:,} decoded images would take about {gigabytes[0]} of memory, and {gigabytes[1]} may "
        "be used: choose a smaller --image-size, or leave out --cache"
    )


@final
class _Reduced(SourceWrapper):
    """Images at their cached size."""

    def __init__(self, source: Source, size: int, interpolation: Interpolation) -> None:
        self.source = shrunk(source, 2 * size)
        self.size = size
        self.interpolation = interpolation

    def read(self, row: int) -> NDArray[np.uint8]:
        return reduced(self.source.read(row), self.size, self.interpolation)


@final
@dataclass(frozen=True, eq=False)
class _Load:
    """row -> the bytes of the image, which is in memory then; or why there is none."""

    pixels: SharedSource

    def __call__(self, row: int) -> int | str:
        try:
            return self.pixels.read(row).nbytes
        except ImageError as error:
            return str(error)


def reduced(
    pixels: NDArray[np.uint8], size: int, interpolation: Interpolation = "bilinear"
) -> NDArray[np.uint8]:
    """(H, W, C) uint8 with the shorter side reduced to ``size``; smaller images stay as they are. A
    video (T, H, W, C) likewise, frame by frame.

    Sizes are rounded as torchvision's ``Resize`` does, so that the result passes it unchanged.
    """
    if pixels.ndim == 4:
        return np.stack([reduced(frame, size, interpolation) for frame in pixels])
    height, width, channels = pixels.shape
    short = min(height, width)
    if short <= size:
        return pixels
    shape = (int(size * width / short), int(size * height / short))
    image = Image.fromarray(pixels[..., 0] if channels == 1 else np.ascontiguousarray(pixels))
    small = np.asarray(image.resize(shape, Image.Resampling[interpolation.upper()]))
    return small[..., None] if channels == 1 else small


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
