"""The Parquet shards that a selection reads: opened, compared, and cut into pieces of bounded size.

A shard that cannot be read is an error, unless the table may be incomplete: then it is set aside with its
reason and the rest goes on. A shard that can be read but does not belong to the others (other columns,
classes or teacher) is always one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import UserError
from ...parquet import BadParquet, open_parquet, parquet_errors
from ...scores.columns import class_list, refuse_unfinished
from ...spreadsheet import check_columns

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

CLASSES, TEACHER, TOP = "reteach.classes", "reteach.teacher", "reteach.top"
"""Metadata of a score table: the class list; who scored; how many classes an item has at most."""
RULE = "reteach.select"
"""Metadata of picks: the options that they were selected with."""


@dataclass(frozen=True)
class ShardLayout:
    """What all shards of a table must have in common."""

    item: Literal["text", "integer"]
    classes_are: Literal["names", "indices", "lists"]
    """``lists``: a label table, its column ``labels`` holding class names."""
    score: Literal["float", "double"] | None
    logit: Literal["float", "double"] | None
    classes: tuple[str, ...] | None
    teacher: str | None
    top: int | None
    rule: str | None


_WORDS = {
    "item": "the type of column 'item'",
    "classes_are": "the type of column 'class'",
    "score": "the type of column 'score'",
    "logit": "the column 'logit'",
    "classes": "the class list",
    "teacher": "the teacher (mixed teachers cannot be ranked together)",
    "top": "the number of classes kept per item",
    "rule": "the options of the selection",
}


@dataclass(frozen=True)
class Shard:
    """One file: rows per row group, and the span of its class indices where the footer knows it."""

    file: Path
    groups: tuple[int, ...]
    span: tuple[int, int] | None

    @property
    def rows(self) -> int:
        return sum(self.groups)


@dataclass(frozen=True)
class Skipped:
    """A shard that could not be read, and why."""

    file: Path
    reason: str


@dataclass(frozen=True)
class Shards:
    """A table on disk: the shards that can be read, in the order of their names."""

    path: Path
    layout: ShardLayout
    shards: tuple[Shard, ...]
    skipped: tuple[Skipped, ...]
    incomplete: bool = False
    """Whether shards that cannot be read, or are still to come, may be missing."""

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    def without(self, lost: Skipped) -> Shards:
        """The same table, a shard of which turned out to be unreadable.

        Raises:
            UserError: it must not be missing, or there is no other.
        """
        rest = tuple(shard for shard in self.shards if shard.file != lost.file)
        if not rest:
            raise UserError(f"{self.path}: no shard can be read, {lost.file.name}: {lost.reason}")
        if not self.incomplete:
            raise _unreadable(lost)
        return replace(self, shards=rest, skipped=(*self.skipped, lost))


@dataclass(frozen=True)
class ShardPiece:
    """Rows that are read together: whole files, or rows [start, stop) of a single one."""

    files: tuple[Path, ...]
    rows: int
    within: tuple[int, int] | None = None


def _unreadable(lost: Skipped) -> UserError:
    return UserError(
        f"{lost.file} cannot be read ({lost.reason}): delete it and make it again (reteach score makes just "
        "what is missing), or go without it with --incomplete"
    )


def open_shards(path: Path, *, incomplete: bool = False) -> Shards:
    """Read the footers of a Parquet file, or of all ``*.parquet`` files in a folder.

    Args:
        incomplete: go without shards that cannot be read, or that are still to come.

    Raises:
        UserError: nothing there, nothing readable, a missing column, shards that do not belong
            together; unless ``incomplete``, a shard that cannot be read, or scores that are not finished.
    """
    if not path.exists():
        raise UserError(f"score table {path} does not exist")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"the folder {path} has no .parquet files")
    if not incomplete:
        refuse_unfinished(path, ", or select from what there is with --incomplete")
    shards: list[Shard] = []
    skipped: list[Skipped] = []
    layout: ShardLayout | None = None
    for file in files:
        try:
            with open_parquet(file) as reader:
                footer = reader.metadata
                schema = footer.schema.to_arrow_schema()
        except BadParquet as error:
            skipped.append(Skipped(file, error.reason))
            if not incomplete and len(files) > 1:
                raise _unreadable(skipped[0]) from None
            continue
        own = _layout(file, schema)
        if layout is None:
            layout = own
        elif own != layout:
            raise UserError(_difference(file, own, shards[0].file, layout))
        with parquet_errors(file):
            shards.append(_shard(file, footer, own))
    if layout is None:
        raise UserError(f"{path}: no shard can be read, {files[0].name}: {skipped[0].reason}")
    return Shards(path, layout, tuple(shards), tuple(skipped), incomplete)


def pieces(shards: Sequence[Shard], first: int, largest: int) -> Iterator[ShardPiece]:
    """Cover all rows in order, with pieces of ``first`` rows growing to ``largest``.

    A piece is never smaller than a row group, and grows with the number of rows before it: the
    first pieces set thresholds, later ones mostly lie below them.
    """
    done = held = 0
    waiting: list[Path] = []
    for shard in shards:
        size = min(max(first, done), largest)
        if waiting and held + shard.rows > size:
            yield ShardPiece(tuple(waiting), held)
            done, held, waiting = done + held, 0, []
        if shard.rows <= size:
            waiting.append(shard.file)
            held += shard.rows
            continue
        start = stop = 0
        for rows in (*shard.groups, 0):
            size = min(max(first, done), largest)
            if stop > start and (stop - start + rows > size or not rows):
                yield ShardPiece((shard.file,), stop - start, (start, stop))
                done, start = done + stop - start, stop
            stop += rows
    if waiting:
        yield ShardPiece(tuple(waiting), held)


def shuffled(shards: Sequence[Shard], first: int, largest: int) -> Iterator[dict[Path, list[int]]]:
    """All row groups in pieces like those of :func:`pieces`, in an order that has nothing to do with theirs.

    So what stands in the first pieces is like the rest, also where the shards were sorted by content.

    Yields:
        file -> its row groups that are read together.
    """
    groups = [(n, g) for n, shard in enumerate(shards) for g in range(len(shard.groups))]
    piece: dict[Path, list[int]] = {}
    done = held = 0
    for at in np.random.default_rng(0).permutation(len(groups)).tolist():
        number, group = groups[at]
        shard = shards[number]
        if piece and held + shard.groups[group] > min(max(first, done), largest):
            yield piece
            done, held, piece = done + held, 0, {}
        piece.setdefault(shard.file, []).append(group)
        held += shard.groups[group]
    if piece:
        yield piece


def _layout(file: Path, schema: pa.Schema) -> ShardLayout:
    import pyarrow as pa

    check_columns(file, schema.names)
    lists = "labels" in schema.names and "class" not in schema.names
    for name in ("item",) if lists else ("item", "class"):
        if name not in schema.names:
            raise UserError(
                f"{file}: no column {name!r} (found: {', '.join(schema.names) or 'none'})"
            )

    def kind(name: str) -> Any:
        found = schema.field(name).type
        return found.value_type if pa.types.is_dictionary(found) else found

    def text(found: Any) -> bool:
        return str(found) in ("string", "large_string", "string_view")

    def number(name: str) -> Literal["float", "double"] | None:
        if name not in schema.names:
            return None
        if kind(name) not in (pa.float32(), pa.float64()):
            raise UserError(f"{file}: column {name!r} is {kind(name)}, expected float32 or float64")
        return "float" if kind(name) == pa.float32() else "double"

    item = kind("item")
    if not (text(item) or pa.types.is_integer(item)):
        raise UserError(f"{file}: column 'item' is {item}, expected string or integer")
    if not lists and not (text(kind("class")) or pa.types.is_integer(kind("class"))):
        raise UserError(f"{file}: column 'class' is {kind('class')}, expected integer or string")
    meta = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    top = meta.get(TOP, "")
    return ShardLayout(
        "text" if text(item) else "integer",
        "lists" if lists else "names" if text(kind("class")) else "indices",
        None if lists else number("score"),
        None if lists else number("logit"),
        class_list(file, schema),
        meta.get(TEACHER),
        int(top) if top.isascii() and top.isdigit() else None,
        meta.get(RULE),
    )


def _shard(file: Path, footer: pq.FileMetaData, layout: ShardLayout) -> Shard:
    """Rows per group, and from the statistics: the span of class indices; no cell is empty."""
    names = ["item"] if layout.classes_are == "lists" else ["item", "class"]
    names += [name for name in ("score", "logit") if getattr(layout, name)]
    low, high, known = 0, -1, layout.classes_are == "indices"
    groups = []
    columns = {footer.schema.column(c).path: c for c in range(footer.num_columns)}
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        groups.append(group.num_rows)
        for name in names:
            found = group.column(columns[name]).statistics
            if found is not None and found.has_null_count and found.null_count:
                raise UserError(f"{file}: column {name!r} has {found.null_count} empty cells")
            if name == "class" and known and group.num_rows:
                if found is None or not found.has_min_max:
                    known = False
                    continue
                low, high = min(low, int(found.min)), max(high, int(found.max))
    return Shard(file, tuple(groups), (low, high) if known else None)


def _difference(file: Path, own: ShardLayout, first: Path, layout: ShardLayout) -> str:
    name = next(
        f.name for f in fields(ShardLayout) if getattr(own, f.name) != getattr(layout, f.name)
    )
    mine, theirs = getattr(own, name), getattr(layout, name)
    if name == "classes" and mine and theirs:
        odd = sorted(set(mine) ^ set(theirs))
        detail = f"{odd[0]!r} is in one of them only" if odd else "they differ in order"
    elif name == "classes":
        detail = f"only {(file if mine else first).name} has one"
    else:
        detail = f"{_short(mine)} and {_short(theirs)}"
    return f"{file} does not belong to {first.name}: {_WORDS[name]} differs, {detail}"


def _short(value: Any) -> str:
    return "none" if value is None else json.dumps(value)[:80]
