"""Plain data out of a pickle, without executing it.

A pickle is a program. This reader lets it build dictionaries, lists, tuples, numbers, text, bytes and
numeric arrays, and refuses every other name that it asks for. Even numpy is not called by it: arrays are
put together here from their shape, type and bytes.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any, final

import numpy as np

from ..errors import UserError


class _Refused(Exception):
    """The pickle wants more than plain data."""


@final
class _Type:
    """Stands for a numpy dtype while its pickle is read."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else str(name)
        if not re.fullmatch(r"[uif][1248]|b1", self.name):
            raise _Refused(f"an array of type {self.name[:20]!r}")
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        self.order = ">" if order == ">" else "<"


@final
class _Array:
    """Stands for a numpy array while its pickle is read."""

    def __init__(self, *_: Any) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _Type) or not isinstance(data, bytes):
            raise _Refused("an array of objects")
        flat = np.frombuffer(data, np.dtype(f"{kind.order}{kind.name}"))
        self.value = flat.reshape(tuple(map(int, shape)), order="F" if fortran else "C")


def _rebuild(*_: Any) -> _Array:
    return _Array()


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes in an old pickle."""
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How Python 3 writes empty bytes in an old pickle."""
    return b""


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _rebuild,
    ("numpy._core.multiarray", "_reconstruct"): _rebuild,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encoded,
    ("__builtin__", "bytes"): _no_bytes,
}


@final
class _PickleReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise _Refused(f"{module}.{name}"[:60])
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("something that is kept elsewhere")


def read_plain(data: bytes, where: str) -> Any:
    """The dictionaries, lists, numbers, text, bytes and arrays in a pickle.

    Raises:
        UserError: it asks for anything else, or is damaged.
    """
    try:
        return _arrays(_PickleReader(io.BytesIO(data), encoding="bytes").load())
    except _Refused as error:
        raise UserError(f"{where} is not plain data: it asks for {error}; not read") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise UserError(f"{where} cannot be read ({reason})") from None


def _arrays(value: Any, depth: int = 0) -> Any:
    if depth > 8:
        raise _Refused("values nested too deeply")
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _arrays(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_arrays(each, depth + 1) for each in value)
    if not isinstance(value, str | bytes | int | float | bool | None):
        raise _Refused(f"a {type(value).__name__}")
    return value
