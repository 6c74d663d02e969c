"""The stored bytes of images, before anything is decoded: two files that are equal have equal bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, final

import numpy as np

from ..loading.decode import ImageError
from .base import Source, SubsetSource
from .folders import FolderSource, VideoSource
from .huggingface import HuggingFaceSource
from .object_folder import ObjectFolderSource
from .shards import ShardSource

T = TypeVar("T")
DIGEST = 16
"""Bytes of a digest."""


@final
@dataclass(frozen=True, eq=False)
class Contents:
    """The bytes of a source's N images; of a source without files, those of their pixels."""

    source: Source

    def __len__(self) -> int:
        return len(self.source)

    def size(self, row: int) -> int:
        """Number of bytes, without reading them; -1 where only reading would tell.

        Raises:
            ImageError: there is no such file any more.
        """
        source, row = self._origin(row)
        if isinstance(source, ShardSource):
            return int(source.sizes[row])
        if isinstance(source, ObjectFolderSource):
            return source.size(row)
        if isinstance(source, FolderSource):
            return _checked(lambda: os.stat(source.path(row)).st_size)
        return -1

    def content(self, row: int) -> bytes:
        """All bytes.

        Raises:
            ImageError: they cannot be read.
        """
        source, row = self._origin(row)
        if isinstance(source, ShardSource | ObjectFolderSource):
            return _checked(lambda: source.content(row))
        if isinstance(source, FolderSource):
            return _checked(lambda: _whole(source.path(row)))
        if isinstance(source, HuggingFaceSource) and (stored := source.content(row)):
            return stored
        pixels = np.ascontiguousarray(source.read(row))
        return repr(pixels.shape).encode() + pixels.tobytes()

    def digest(self, row: int) -> bytes:
        """16 bytes that change with the content.

        Raises:
            ImageError: it cannot be read.
        """
        return hashlib.sha256(self.content(row)).digest()[:DIGEST]

    def _origin(self, row: int) -> tuple[Source, int]:
        source: Source = self.source
        if isinstance(source, SubsetSource):
            return Contents(source.source)._origin(int(source.rows[row]))
        return (source.files if isinstance(source, VideoSource) else source), row


def _whole(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _checked(read: Callable[[], T]) -> T:
    try:
        return read()
    except OSError as error:
        raise ImageError(f"cannot be read ({os.strerror(error.errno or 0)})") from None
