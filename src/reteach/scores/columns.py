"""The Arrow columns of score tables (:mod:`reteach.scores.table`): checked, and turned into arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..spreadsheet import check_columns
from ..structured import parse_json

if TYPE_CHECKING:
    import pyarrow as pa

Indices = NDArray[np.int64]
UNFINISHED = "_UNFINISHED"
"""Stands in a folder of scores until all of its shards are there."""


def refuse_unfinished(scores: Path, otherwise: str = "") -> None:
    """Refuse a folder in which shards are still to come.

    Args:
        otherwise: what else can be done about it.

    Raises:
        UserError: it is one.
    """
    if (scores / UNFINISHED).exists():
        raise UserError(
            f"{scores} does not hold all scores yet: run the same reteach score again{otherwise}"
        )


def column_kinds(file: Path, schema: pa.Schema) -> tuple[bool, bool]:
    """Whether classes are names, and whether there are logits; checks the columns' types."""
    import pyarrow as pa

    check_columns(file, schema.names)
    for name in ("item", "class", "score"):
        if name not in schema.names:
            raise UserError(
                f"{file}: no column {name!r} (found: {', '.join(schema.names) or 'none'})"
            )

    def type_of(name: str) -> pa.DataType:
        kind = schema.field(name).type
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    def text(kind: pa.DataType) -> bool:
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    if not text(type_of("item")):
        raise UserError(f"{file}: column 'item' is {type_of('item')}, expected string")
    named = text(type_of("class"))
    if not named and not pa.types.is_integer(type_of("class")):
        raise UserError(f"{file}: column 'class' is {type_of('class')}, expected integer or string")
    for name in ("score", "logit"):
        if name in schema.names and not pa.types.is_floating(type_of(name)):
            raise UserError(f"{file}: column {name!r} is {type_of(name)}, expected a float")
    return named, "logit" in schema.names


def class_list(file: Path, schema: pa.Schema) -> tuple[str, ...] | None:
    text = (schema.metadata or {}).get(b"reteach.classes")
    if text is None:
        return None
    try:
        names = parse_json(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or len({str(name) for name in names}) != len(names):
        raise UserError(f"{file}: the class list in its metadata is damaged")
    return tuple(str(name) for name in names)


def dictionary(file: Path, column: pa.Array, name: str) -> tuple[pa.Array, Indices]:
    """The distinct names, and the (B,) index into them."""
    import pyarrow as pa

    full(file, column, name)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    return column.dictionary, column.indices.to_numpy().astype(np.int64)


def numbers(file: Path, column: pa.Array, name: str) -> NDArray[np.float32]:
    values = np.asarray(full(file, column, name).to_numpy(zero_copy_only=False), np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{file}: column {name!r} has values that are not finite numbers")
    return values


def full(file: Path, column: pa.Array, name: str) -> pa.Array:
    if column.null_count:
        raise UserError(f"{file}: column {name!r} has {column.null_count} empty cells")
    return column


def one_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
