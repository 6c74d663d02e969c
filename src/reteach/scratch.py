"""Arrays that are too long for memory: in files without a name, which are gone when nobody uses them.

They lie where ``TMPDIR`` says. What is looked at is in memory as long as there is room, as with any file; a
``TMPDIR`` that is itself memory (tmpfs) keeps all of it there.
"""

from __future__ import annotations

import tempfile
from typing import IO, Any, Generic, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from .errors import UserError

LEAST = 2**23
"""Bytes up to which an array stays in memory."""
D = TypeVar("D", bound=np.generic)


@final
class GrowingArray(Generic[D]):
    """A one-dimensional array that is written piece by piece."""

    def __init__(self, dtype: type[D]) -> None:
        self._dtype = np.dtype(dtype)
        self._file = _file()
        self._count = 0

    def append(self, values: NDArray[Any]) -> None:
        """Write M values at the end."""
        try:
            self._file.write(np.ascontiguousarray(values, self._dtype).data)
        except OSError as error:
            raise _full(error) from None
        self._count += len(values)

    def array(self) -> NDArray[D]:
        """All values; nothing is written after that."""
        self._file.flush()
        return _mapped(self._file, self._dtype, self._count)


def zeros(count: int, dtype: type[D]) -> NDArray[D]:
    """``count`` zeros, in memory only if they are few."""
    kind = np.dtype(dtype)
    if count * kind.itemsize <= LEAST:
        return np.zeros(count, kind)
    file = _file()
    try:
        file.truncate(count * kind.itemsize)
    except OSError as error:
        raise _full(error) from None
    return _mapped(file, kind, count)


def _mapped(file: IO[bytes], kind: np.dtype[Any], count: int) -> NDArray[Any]:
    if not count:  # no file of nothing can be mapped
        return np.zeros(0, kind)
    return np.asarray(np.memmap(file, kind, "r+", shape=(count,)))


def _file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix=".reteach-")
    except OSError as error:
        raise _full(error) from None


def _full(error: OSError) -> UserError:
    return UserError(
        f"cannot write a temporary file in {tempfile.gettempdir()} ({error.strerror}): name a folder with "
        "room in the environment variable TMPDIR"
    )
