"""The values of a Python call as the values that options hold: paths, numbers, tables kept as files."""

from __future__ import annotations

import hashlib
import io
import os
import re
import types
import typing
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..frames import TableFile, as_arrow
from .objects import IMAGES

TABLES = frozenset(
    {
        *("labels", "val_labels", "test_labels", "test_original", "clean", "also_labels"),
        *("original", "truth", "gold", "label_sets", "tags", "ratings"),
    }
)
"""Settings that name a table to read: they take a data frame as well."""


def as_value(name: str, value: Any) -> Any:
    """A value with files in the place of data frames and lists of classes: what is given is kept as one.

    Raises:
        UserError: a data frame for a setting that is no table.
    """
    if name == "classes" and isinstance(value, list | tuple):
        return _kept_file("\n".join(map(str, value)).encode(), ".txt")
    if isinstance(value, list | tuple):
        return tuple(as_value(name, entry) for entry in value)
    if isinstance(value, TableFile) and name in TABLES:
        return value.out
    if isinstance(value, str | os.PathLike | bool | int | float | None):
        return value
    if name not in TABLES and not _is_frame(value):
        return value
    arrow = as_arrow(value)
    if arrow is None:
        return value
    if name not in TABLES:
        raise UserError(f"{name} is no table to read: it takes no data frame")
    return _kept(arrow, ".csv" if name == "ratings" else ".parquet")


def _is_frame(value: Any) -> bool:
    """Whether this is a data frame, or a mapping, which no other setting takes."""
    return isinstance(value, Mapping) or any(
        hasattr(value, name) for name in ("__arrow_c_stream__", "__dataframe__")
    )


def without_kept_files(text: str) -> str:
    """An error with words in the place of the files that :func:`as_value` kept."""
    if "/given/" not in text:
        return text
    from ..runs.inputs import cache_folder

    return re.sub(
        rf"{re.escape(str(cache_folder() / 'given'))}/[0-9a-f]{{32}}\.\w+", "the table given", text
    )


def _kept(arrow: Any, ending: str) -> Path:
    """The file of a table in the user's cache, from which runs are resumed."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    meta = {k: v for k, v in (arrow.schema.metadata or {}).items() if k.startswith(b"reteach.")}
    out = io.BytesIO()
    try:
        if ending == ".csv":
            pa.csv.write_csv(arrow, out)
        else:
            pq.write_table(arrow.replace_schema_metadata(meta), out, write_page_checksum=True)
    except pa.ArrowException as error:
        raise UserError(
            f"this table cannot be written: {' '.join(str(error).split())[:150]}"
        ) from None
    return _kept_file(out.getvalue(), ending)


def _kept_file(content: bytes, ending: str) -> Path:
    """The file of some content, called after it."""
    from ..files import atomic_write
    from ..runs.inputs import cache_folder

    name = hashlib.sha256(content).hexdigest()[:32]
    file = cache_folder() / "given" / f"{name}{ending}"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, content)
    return file


def as_type(value: Any, hint: Any, name: str) -> Any:
    """A value as the type of its setting: paths may be texts, lists tuples, one value a tuple of one.

    Raises:
        UserError: it is of another type; names the setting, what it takes, and what it got.
    """
    found = _typed(value, hint)
    if found is _WRONG:
        raise UserError(f"{name} must be {_wanted(name, hint, value)}, got {_shown(value)}")
    return found


def _wanted(name: str, hint: Any, value: Any) -> str:
    """What a setting takes, in words."""
    if name in IMAGES:
        return "where images are, or images: an array, a list of files or images, a data set"
    if name in TABLES:
        if hasattr(value, "collect"):
            return "a table that has been computed (.collect())"
        beside = "; a list goes with images in memory" if name == "labels" else ""
        return f"the path of a table, or a data frame{beside}"
    return words(hint)


_WRONG: Any = object()


def _typed(value: Any, hint: Any) -> Any:
    """The value, or :data:`_WRONG`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _typed(value, arguments[0])
    if origin in (types.UnionType, typing.Union):
        found = (_typed(value, argument) for argument in arguments)
        return next((one for one in found if one is not _WRONG), _WRONG)
    if origin is typing.Literal:
        return value if type(value) is str and value in arguments else _WRONG
    if origin is tuple:
        return _tuple(value, arguments)
    if hint is type(None):
        return None if value is None else _WRONG
    return _plain(value, hint)


def _tuple(value: Any, arguments: tuple[Any, ...]) -> Any:
    entries = tuple(value) if isinstance(value, list | tuple) else (value,)
    each = arguments[:1] * len(entries) if arguments[-1] is ... else arguments
    if len(each) != len(entries):
        return _WRONG
    found = tuple(_typed(entry, one) for entry, one in zip(entries, each, strict=True))
    return _WRONG if any(one is _WRONG for one in found) else found


def _plain(value: Any, hint: Any) -> Any:
    truth = isinstance(value, bool) or type(value).__name__ == "bool_"
    if hint is bool:
        return bool(value) if truth else _WRONG
    if hint is int:
        return int(value) if isinstance(value, Integral) and not truth else _WRONG
    if hint is float:
        return float(value) if isinstance(value, Real) and not truth else _WRONG
    if hint is Path:
        return Path(value) if isinstance(value, str | os.PathLike) else _WRONG
    if hint is str:
        return os.fspath(value) if isinstance(value, str | os.PathLike) else _WRONG
    return value


def words(hint: Any) -> str:
    """A type in words: "a number, or None"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return words(arguments[0])
    if origin in (types.UnionType, typing.Union):
        return ", or ".join(map(words, arguments))
    if origin is typing.Literal:
        return (
            f"one of {', '.join(map(repr, arguments))}" if len(arguments) > 1 else repr(*arguments)
        )
    if origin is tuple:
        return f"a list of which each is {words(arguments[0])}"
    return {
        bool: "True or False",
        int: "a whole number",
        float: "a number",
        str: "a text",
        Path: "a path",
        type(None): "None",
    }.get(hint, str(hint))


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | None | list | tuple) else ""
    return text if 0 < len(text) <= 60 else f"a {type(value).__name__}"
