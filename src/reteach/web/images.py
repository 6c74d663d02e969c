"""The pictures that people see.

Ordinary picture files are sent as they are; anything else is decoded and sent as JPEG. Names come
from a store that others may have written: one that leaves the image folder is not there.
"""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..data.item_ids import file_name, is_escaped
from ..data.loading.decode import ImageError, decode
from ..data.sources.base import Source, open_source, shrunk

Pixels = NDArray[np.uint8]

LARGEST_SENT = 2 * 1024 * 1024  # bytes; a larger file is made smaller first
LONGEST_SIDE = 1600  # pixels
THUMB_SIDE = 224
CACHE_BYTES = 64 * 1024 * 1024
_MAGIC = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))


@dataclass(frozen=True)
class Picture:
    """An encoded image."""

    data: bytes
    media_type: str


class ServedImages(Protocol):
    """Where images are read from, by item name; ``pixels`` and ``file`` raise :class:`ImageError`."""

    reading: AbstractContextManager[Any]
    """Held while an image is read."""

    def stamp(self, name: str) -> str:
        """Something that is another when the image has changed; empty: that cannot be told."""

    def pixels(self, name: str, at_least: int) -> Pixels:
        """(H, W, 3 or 1) uint8, perhaps smaller, but not below ``at_least`` on the shorter side."""

    def file(self, name: str) -> bytes | None:
        """The encoded image, if it is a file of its own."""


class FolderImages:
    """Files below a folder; an item's name is its path, with ``/`` between the parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reading: AbstractContextManager[Any] = nullcontext()

    def stamp(self, name: str) -> str:
        """When the file was written, and its size."""
        try:
            found = self._path(name).stat()
        except (OSError, ImageError):
            return ""
        return f"{found.st_mtime_ns}-{found.st_size}"

    def pixels(self, name: str, at_least: int) -> Pixels:
        """Decoded."""
        return decode(self._path(name), at_least=at_least)

    def file(self, name: str) -> bytes:
        """As it is."""
        try:
            return self._path(name).read_bytes()
        except OSError as error:
            raise ImageError(f"cannot be read ({os.strerror(error.errno or 0)})") from None

    def _path(self, name: str) -> Path:
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or "\0" in name or os.path.isabs(name):
            raise ImageError("its name leads out of the image folder")
        path = self.folder / inside
        if is_escaped(name) and not os.path.lexists(path):
            return self.folder / file_name(name)
        return path


class SourceImages:
    """The images of any other source that reteach reads."""

    def __init__(self, source: Source) -> None:
        self.source, self.small = source, shrunk(source, THUMB_SIDE)
        self._row = {name: row for row, name in enumerate(source.items)}
        self.reading: AbstractContextManager[Any] = (
            threading.Lock()
        )  # sources promise nothing about threads

    def stamp(self, name: str) -> str:
        """A source stays as it was opened."""
        return ""

    def pixels(self, name: str, at_least: int) -> Pixels:
        """Read from the source."""
        if name not in self._row:
            raise ImageError("it is not among the images")
        source = self.small if at_least <= THUMB_SIDE else self.source
        return source.read(self._row[name])

    def file(self, name: str) -> None:
        """There are none."""


class Gallery:
    """Pictures and thumbnails, the latest ones kept in memory; safe between threads."""

    def __init__(self, images: ServedImages) -> None:
        self.images = images
        self._kept: OrderedDict[tuple[str, bool], Picture] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def picture(self, name: str, thumb: bool = False) -> Picture:
        """An image.

        Raises:
            ImageError: it cannot be shown.
        """
        key = (name, thumb)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = self._read(name, thumb)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = found
                self._size += len(found.data)
            while self._size > CACHE_BYTES and len(self._kept) > 1:
                _, old = self._kept.popitem(last=False)
                self._size -= len(old.data)
        return found

    def why_missing(self, name: str) -> str | None:
        """Why an image cannot be shown; None if it can."""
        try:
            self.picture(name)
        except ImageError as error:
            return str(error)
        return None

    def _read(self, name: str, thumb: bool) -> Picture:
        side = THUMB_SIDE if thumb else LONGEST_SIDE
        with self.images.reading:
            pixels = self.images.pixels(name, side)  # a file that is sent must be whole, too
            data = None if thumb else self.images.file(name)
        if data is not None and len(data) <= LARGEST_SENT:
            for magic, media_type in _MAGIC:
                if data.startswith(magic):
                    return Picture(data, media_type)
        return Picture(jpeg(pixels, side), "image/jpeg")


def open_images(where: str) -> ServedImages:
    """The images of a folder, or of anything else that reteach reads images from.

    Raises:
        UserError: nothing is there.
    """
    return FolderImages(Path(where)) if os.path.isdir(where) else SourceImages(open_source(where))


def jpeg(pixels: Pixels, side: int, quality: int = 92) -> bytes:
    """Pixels as JPEG, made smaller where their longer side exceeds ``side``."""
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((side, side))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
