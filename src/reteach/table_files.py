"""What stands in the file of a label table, cell by cell: Parquet and CSV come out alike.

:mod:`reteach.tables` says what the columns mean.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

from .errors import UserError
from .spreadsheet import check_cells, unguard

Kind = Literal["single", "multi", "soft"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_COLUMNS = ("item", "labels", "weight", "unknown", "kind", "classes", "source")


@dataclass(frozen=True)
class Cells:
    """What stands in a file, row by row, before anything is known of its meaning."""

    items: list[str]
    names: list[list[str]]
    weights: list[list[float]] | None
    unknown: list[list[str]] | None
    source: str
    classes: list[str] | None
    kind: Kind | None
    texts: set[str]
    """Labels that were plain text, not entries of a list."""
    list_lost: bool
    """There is a column ``classes``, but the row that held the list is gone."""


def read_parquet(path: Path) -> Cells:
    """The cells of a Parquet file; class list and kind from its columns, or from its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        _need_columns(path, schema.names)
        wanted = [c for c in _COLUMNS if c in schema.names]
        table = pq.read_table(path, columns=wanted)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({_one_line(error)})") from None
    items = ["" if item is None else str(item) for item in table["item"].to_pylist()]
    texts: set[str] = set()
    names = _lists(path, table["labels"].to_pylist(), texts)
    unknown = _lists(path, table["unknown"].to_pylist(), texts) if "unknown" in wanted else None
    weights = None
    if "weight" in wanted:
        column = table["weight"].to_pylist()
        weights = [w if isinstance(w, list) else ([] if w is None else [w]) for w in column]
    source = ""
    if "source" in wanted and len(table):
        source = str(table["source"][0].as_py() or "")
    meta = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items() if b"reteach" in k}
    said = {c: _distinct(table[c]) for c in ("kind", "classes") if c in wanted}
    kinds = said.get("kind") or [meta[k] for k in ("reteach.kind",) if k in meta]
    lists = said.get("classes") or [meta[k] for k in ("reteach.classes",) if k in meta]
    return Cells(
        items,
        names,
        weights,
        unknown,
        source,
        _one_list(path, lists),
        _one_kind(path, kinds),
        texts,
        "classes" in wanted and len(items) > 0 and not lists,
    )


def _distinct(column: Any) -> list[str]:
    """The different texts of a column, but for empty ones."""
    return [str(value) for value in column.unique().to_pylist() if value]


def _one_kind(path: Path, said: Sequence[str]) -> Kind | None:
    if odd := [kind for kind in said if kind not in KINDS]:
        raise UserError(f"{path}: kind {odd[0]!r} is none of {', '.join(KINDS)}")
    if len(said) > 1:
        raise UserError(
            f"{path}: rows of different kinds ({', '.join(sorted(said))}): make two tables of it"
        )
    return next((kind for kind in KINDS if kind in said), None)


def _one_list(path: Path, said: Sequence[str]) -> list[str] | None:
    lists = []
    for text in said:
        try:
            names = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{path}: the class list is damaged: {text[:60]!r}")
        lists.append(names)
    if not lists:
        return None
    if any(names != lists[0] for names in lists):
        odd = next(names for names in lists if names != lists[0])
        raise UserError(
            f"{path}: rows with different class lists ({len(lists[0])} and {len(odd)} classes): "
            "make the column classes the same in all rows"
        )
    return lists[0]


def _lists(path: Path, column: list[Any], texts: set[str]) -> list[list[str]]:
    """The class names in each cell of a Parquet column: a list, one text, or nothing."""
    found: list[list[str]] = []
    for row, entry in enumerate(column):
        if isinstance(entry, list):
            if None in entry:
                raise UserError(f"{path}: row {row + 1} has a null among its labels")
            found.append([str(name) for name in entry])
        elif entry is None or entry == "" or entry != entry:
            found.append([])
        else:
            found.append([str(entry)])
            texts.add(str(entry))
    return found


def read_csv(path: Path) -> Cells:
    """The cells of a CSV file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _rows_of_csv(path, file)
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file") from None
    except csv.Error as error:
        raise UserError(f"{path}: not a readable CSV file ({error})") from None


def _rows_of_csv(path: Path, file: IO[str]) -> Cells:
    csv.field_size_limit(2**31 - 1)  # a list of ten thousand classes is one cell
    reader = csv.reader(file)
    header = [name.strip() for name in next(reader, [])]
    _need_columns(path, header)
    at = {name: header.index(name) for name in _COLUMNS if name in header}
    items, names, source = [], [], ""
    texts: set[str] = set()
    said: dict[str, dict[str, None]] = {"kind": {}, "classes": {}}
    weights: list[list[float]] | None = [] if "weight" in at else None
    unknown: list[list[str]] | None = [] if "unknown" in at else None
    for number, cells in enumerate(reader, start=2):
        if not cells:
            continue
        where = f"{path}: line {number}"
        check_cells(path, number, len(cells), len(header))
        items.append(unguard(cells[at["item"]]))
        names.append(split_labels(unguard(cells[at["labels"]]), where, texts))
        if unknown is not None:
            unknown.append(split_labels(unguard(cells[at["unknown"]]), where, texts))
        if weights is not None:
            try:
                weights.append([float(w) for w in re.split(r"[|;]", cells[at["weight"]]) if w])
            except ValueError:
                raise UserError(f"{where}: weight is not a number") from None
        for column, found in said.items():
            if column in at and (cell := cells[at[column]].strip()):
                found[cell] = None
        if "source" in at and not source:
            source = unguard(cells[at["source"]])
    kind, classes = _one_kind(path, list(said["kind"])), _one_list(path, list(said["classes"]))
    lost = "classes" in at and len(items) > 0 and classes is None
    return Cells(items, names, weights, unknown, source, classes, kind, texts, lost)


def split_labels(cell: str, where: str, texts: set[str] | None = None) -> list[str]:
    """The class names in one CSV cell: a JSON list, or names between ``|`` or ``;``.

    Args:
        texts: is given the names that were plain text.
    """
    cell = cell.strip()
    if cell.startswith("["):
        try:
            parsed = json.loads(cell)
        except (json.JSONDecodeError, RecursionError):
            parsed = None
        if not isinstance(parsed, list):
            raise UserError(f"{where}: labels look like a JSON list but are not one: {cell[:60]!r}")
        if any(not isinstance(name, str | int) or isinstance(name, bool) for name in parsed):
            raise UserError(f"{where}: labels are names, got {cell[:60]!r}")
        return [str(name) for name in parsed]
    names = [name for part in re.split(r"[|;]", cell) if (name := part.strip())]
    if texts is not None:
        texts.update(names)
    return names


def _need_columns(path: Path, columns: Sequence[str]) -> None:
    for name in ("item", "labels"):
        if name not in columns:
            found = ", ".join(columns) or "none"
            raise UserError(f"{path}: no column {name!r} (found: {found})")


def _one_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
