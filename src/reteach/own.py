"""Python objects of the user's in the place of settings: data sets, networks, augmentations, losses.

A run folder keeps text. Of an object it keeps the qualified name and a digest of its source, and whoever goes
on with the run has to give an object of the same. During a call the objects are found here, by keyword.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, final

from .errors import UserError


@final
@dataclass(frozen=True, eq=False)
class Own:
    """An object, and the text that stands for it.

    Args:
        text: as settings and run folders have it.
        value: the object.
    """

    text: str
    value: Any


_GIVEN: ContextVar[Mapping[str, Own] | None] = ContextVar("reteach_own", default=None)


@contextmanager
def given(objects: Mapping[str, Own]) -> Iterator[None]:
    """Let the objects be found while the context lasts."""
    token = _GIVEN.set({**current(), **objects})
    try:
        yield
    finally:
        _GIVEN.reset(token)


def current() -> Mapping[str, Own]:
    """What is given now: keyword -> object."""
    return _GIVEN.get() or {}


def find(keyword: str, text: str) -> Any:
    """The object that a setting stands for.

    Raises:
        UserError: none was given, or another one; says what to pass.
    """
    found = current().get(keyword)
    if found is None:
        raise UserError(
            f"{text} is an object of Python: give it with {keyword}=…, e.g. rt.resume(FOLDER, {keyword}=…) "
            f"or rt.load(FOLDER, {keyword}=…)"
        )
    if found.text != text:
        raise UserError(
            f"{keyword} was {text} when this run was begun, and {found.text} was given: give the same, or "
            "train anew with another out"
        )
    return found.value


def qualified(value: Any) -> str:
    """The name of a function or class, or of the class of anything else."""
    value = value.func if isinstance(value, functools.partial) else value
    named = (
        value if hasattr(value, "__qualname__") and hasattr(value, "__module__") else type(value)
    )
    return f"{named.__module__}.{named.__qualname__}"


def digest(value: Any) -> str:
    """8 hex digits that change with an object's source, its settings, and what of its module it uses."""
    found = hashlib.blake2b(digest_size=4)
    for part in _parts(value, set()):
        found.update(part.encode())
        found.update(b"\0")
    return found.hexdigest()


def _parts(value: Any, seen: set[int]) -> Iterator[str]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, functools.partial):
        yield f"{value.args!r} {value.keywords!r}"
        yield from _parts(value.func, seen)
    elif isinstance(value, types.FunctionType):
        yield value.__qualname__
        yield _source(value)
        yield f"{value.__defaults__!r} {value.__kwdefaults__!r}"
        for cell in value.__closure__ or ():
            yield from _value(cell.cell_contents, seen)
        for name in sorted(_names(value.__code__)):
            used = value.__globals__.get(name)
            if getattr(used, "__module__", None) == value.__module__ and callable(used):
                yield from _parts(used, seen)
            elif isinstance(used, str | int | float | tuple):
                yield f"{name}={used!r}"
    elif isinstance(value, type):
        yield value.__qualname__
        yield _source(value)
    else:
        yield from _value(value, seen)
        yield from _parts(type(value), seen)


def _value(value: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(value, types.FunctionType | type | functools.partial):
        yield from _parts(value, seen)
    else:
        yield re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _source(value: Any) -> str:
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):  # written at a prompt, or in C
        code = getattr(value, "__code__", None)
        return "" if code is None else f"{code.co_code!r} {code.co_consts!r}"


def _names(code: types.CodeType) -> set[str]:
    """The global names that a function uses, those of the functions in it among them."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))
