"""Large arrays in ordinary pages of memory.

numpy and Arrow ask for huge pages. What is written once and looked at now and then gains nothing by them, and
where the system has to make them up first they cost several times as much as reading what is put in them.
"""

from __future__ import annotations

import mmap
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

_LARGE = 1 << 22
"""Bytes from which on numpy asks for huge pages."""


def paged(count: int, dtype: type[np.generic]) -> NDArray[Any]:
    """(count,) numbers that are not set yet; memory is taken where they are."""
    size = count * np.dtype(dtype).itemsize
    if size < _LARGE or not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.empty(count, dtype)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return np.frombuffer(mmap.mmap(-1, size, flags=flags), dtype)


@final
class Growing:
    """An array that is filled from the front.

    Args:
        count: numbers that there is room for.
    """

    def __init__(self, count: int, dtype: type[np.generic]) -> None:
        self._room, self._used = paged(count, dtype), 0

    def __len__(self) -> int:
        return self._used

    def add(self, values: NDArray[Any], more: int = 1) -> None:
        """Some behind the others.

        Args:
            more: how many times as many are expected, where there is no room.
        """
        end = self._used + len(values)
        if end > len(self._room):
            count = max(self._used + more * len(values), self._used * 5 // 4)
            room = paged(count, self._room.dtype.type)
            room[: self._used] = self.filled
            self._room = room
        self._room[self._used : end] = values
        self._used = end

    @property
    def filled(self) -> NDArray[Any]:
        """What has been added."""
        return self._room[: self._used]
