"""Records: what one part writes as JSON and another reads back. A dataclass each, with a format number.

A field's name is its key (``class_`` is "class"). Keys that a record does not know are passed over, and
fields with a default may be missing: so files of earlier versions open, which had no format number.
"""

from __future__ import annotations

import os
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, final, get_args, get_origin, get_type_hints

from ..errors import UserError
from ..files import write_json
from ..formatting import finite
from ..sealed import Damaged
from ..structured import parse_json

T = TypeVar("T")
FORMAT = "format"
OPTIONAL = {"optional": True}
"""Metadata of a field that stands in the file only where it has a value."""


@final
@dataclass(frozen=True)
class RecordFile(Generic[T]):
    """A file that holds a record.

    Args:
        name: of the file, in its folder.
        kind: the dataclass, or a ``dict[str, …]`` of them.
        version: of its format; files of a later one are refused.
    """

    name: str
    kind: type[T]
    version: int = 1

    def write(self, folder: Path, record: T) -> None:
        """Write the record; numbers that are not finite become null."""
        write_json(folder / self.name, self.content(record))

    def read(self, folder: Path) -> T | None:
        """The record; None if there is no such file.

        Raises:
            Damaged: it is not what was written.
            UserError: it cannot be read, or a later version wrote it.
        """
        file = folder / self.name
        text = load_text(file)
        if text is None:
            return None
        try:
            return self.parse(parse_json(text), f"{file}")
        except ValueError as error:
            raise damaged(file, str(error)) from None

    def content(self, record: T) -> dict[str, Any]:
        """The record as JSON has it."""
        return {FORMAT: self.version, **plain(record)}

    def parse(self, content: Any, where: str) -> T:
        """The record out of JSON; ``where`` names it in errors."""
        values = mapping(content, where)
        version = values.pop(FORMAT, self.version)
        if not isinstance(version, int) or version < 1:
            raise Damaged(f"{where} is damaged: its format is {version!r}")
        if version > self.version:
            raise UserError(
                f"{where} was written by a later version of reteach (format {version}, this one reads "
                f"{self.version}): install that version"
            )
        return parse(self.kind, values, where)


def plain(value: Any) -> Any:
    """A record as JSON has it."""
    if is_dataclass(value):
        pairs = ((f, getattr(value, f.name)) for f in fields(value))
        return {
            _key(f): plain(v) for f, v in pairs if v is not None or "optional" not in f.metadata
        }
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def parse(kind: type[T], value: Any, where: str) -> T:
    """A value of JSON as a dataclass, or as whatever such a class has for a field.

    A number that may be None is None wherever no finite number stands; what is missing or null is an empty
    text, list or mapping.

    Raises:
        Damaged: a value of another kind.
    """
    return _parse(kind, value, where)  # type: ignore[no-any-return]


def _parse(kind: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (some,) = (each for each in inner if each is not NoneType)
        if some in (int, float):
            return value if finite(value) is not None else None
        return None if value is None else _parse(some, value, where)
    if origin is dict:
        return {k: _parse(inner[1], v, where) for k, v in mapping(value, where).items()}
    if origin is tuple:
        each = items(value, where)
        if inner[-1] is Ellipsis:
            return tuple(_parse(inner[0], v, where) for v in each)
        if len(each) != len(inner):
            raise Damaged(f"{where} is damaged: expected {len(inner)} values, got {len(each)}")
        return tuple(_parse(k, v, where) for k, v in zip(inner, each, strict=True))
    if is_dataclass(kind):
        return _record(kind, mapping(value, where), where)
    if kind is str:
        return _text(value, where)
    if kind in (int, float) and finite(value) is None:
        raise Damaged(f"{where} is damaged: expected a number, got {_kind(value)}")
    return bool(value) if kind is bool else value


def _record(kind: Any, values: dict[str, Any], where: str) -> Any:
    found = {}
    for each, hint in _fields(kind):
        if _key(each) in values:
            found[each.name] = _parse(hint, values[_key(each)], where)
        elif each.default is MISSING and each.default_factory is MISSING:
            raise Damaged(f"{where} is damaged: {_key(each)!r} is missing")
    return kind(**found)


@cache
def _fields(kind: Any) -> list[tuple[Field[Any], Any]]:
    hints = get_type_hints(kind)
    return [(each, hints[each.name]) for each in fields(kind)]


def _key(each: Field[Any]) -> str:
    return each.name.rstrip("_")


def _text(value: Any, where: str) -> str:
    if isinstance(value, list | dict):
        raise Damaged(f"{where} is damaged: expected text, got {_kind(value)}")
    return "" if value is None else str(value)


def mapping(value: Any, where: str) -> dict[str, Any]:
    """A mapping with text keys; nothing is an empty one.

    Raises:
        Damaged: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Damaged(f"{where} is damaged: expected names and values, got {_kind(value)}")
    return {str(key): each for key, each in value.items()}


def items(value: Any, where: str) -> list[Any]:
    """A list; nothing is an empty one.

    Raises:
        Damaged: it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise Damaged(f"{where} is damaged: expected a list, got {_kind(value)}")
    return list(value)


def load_text(file: Path) -> str | None:
    """The text of a file; None if there is no such file.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise damaged(file, "it is not UTF-8 text") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"cannot read {file}: {why}") from None


def damaged(file: Path, reason: str) -> Damaged:
    """The error of a file that cannot be understood, on one line."""
    return Damaged(f"{file} is damaged: {' '.join(reason.split())[:150]}")


def _kind(value: Any) -> str:
    return {"str": "text", "list": "a list", "dict": "names and values"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )
