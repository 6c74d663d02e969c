"""What stands in the file of a label table, cell by cell: Parquet and CSV come out alike.

:mod:`reteach.tables` says what the columns mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

from .errors import UserError
from .parquet import read_columns, read_schema
from .quick_csv import quick_columns
from .spreadsheet import check_columns, csv_table, unguard
from .structured import parse_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .name_lists import NameLists
    from .text_column import TextColumn

Kind = Literal["single", "multi", "soft"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_COLUMNS = ("item", "labels", "weight", "unknown", "kind", "classes", "source")
_AS_TEXT = (
    "read the file as text before you write it (pandas: dtype=str, Polars: infer_schema=False, "
    "DuckDB: all_varchar=true)"
)


@dataclass(frozen=True)
class Cells:
    """What stands in a file, row by row, before anything is known of its meaning."""

    items: list[str] | TextColumn
    names: NameLists
    weights: list[list[float]] | None
    unknown: NameLists | None
    source: str
    classes: list[str] | None
    kind: Kind | None
    texts: set[str]
    """Labels that were plain text, not entries of a list."""
    list_lost: bool
    """There is a column ``classes``, but the row that held the list is gone."""
    kindless: int | None
    """The first row that does not say its kind where others do, from 0."""
    nulls: int = 0
    """Rows of a column of lists in which there is a null, not a list."""


def read_parquet(path: Path) -> Cells:
    """The cells of a Parquet file; class list and kind from its columns, or from its metadata."""
    import pyarrow as pa

    from .name_lists import NameLists

    schema = read_schema(path)
    check_columns(path, schema.names)
    _need_columns(path, schema.names)
    wanted = [c for c in _COLUMNS if c in schema.names]
    for name in ("kind", "classes", "source"):
        if name in wanted and pa.types.is_nested(schema.field(name).type):
            raise UserError(f"{path}: the column {name!r} is {schema.field(name).type}, not text")
    table = read_columns(path, wanted)
    texts: set[str] = set()
    names = _lists(path, table["labels"].to_pylist(), texts)
    unknown = _lists(path, table["unknown"].to_pylist(), texts) if "unknown" in wanted else None
    weights = None
    if "weight" in wanted:
        column = table["weight"].to_pylist()
        weights = [split_weights(cell, f"{path}: row {row}") for row, cell in enumerate(column, 1)]
    source = ""
    if "source" in wanted and len(table):
        source = str(table["source"][0].as_py() or "")
    meta = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items() if b"reteach" in k}
    said = {c: _distinct(table[c]) for c in ("kind", "classes") if c in wanted}
    kinds = said.get("kind") or [meta[k] for k in ("reteach.kind",) if k in meta]
    lists = said.get("classes") or [meta[k] for k in ("reteach.classes",) if k in meta]
    classes = _one_list(path, lists)
    if pa.types.is_integer(table["labels"].type) and classes is not None:
        _check_numbers(path, classes)
    from_csv = not _holds_lists(table["labels"].type)  # its texts may be guarded
    items = _items(path, table["item"].to_pylist(), "kind" in said or "classes" in said, from_csv)
    return Cells(
        items,
        NameLists.of(names),
        weights,
        None if unknown is None else NameLists.of(unknown),
        unguard(source) if from_csv else source,
        classes,
        _one_kind(path, kinds),
        texts,
        "classes" in wanted and len(items) > 0 and not lists,
        _first_empty(table["kind"].to_pylist()) if said.get("kind") else None,
        0 if from_csv else table["labels"].null_count,
    )


def _holds_lists(kind: Any) -> bool:
    import pyarrow as pa

    test = pa.types
    return bool(test.is_list(kind) or test.is_large_list(kind) or test.is_fixed_size_list(kind))


def _items(path: Path, column: list[Any], ours: bool, from_csv: bool) -> list[str]:
    """The items of a Parquet column.

    Whole numbers may name the items of any table but ``ours``: there they were text such as 007.
    """
    items = []
    for row, item in enumerate(column, 1):
        if item is None or isinstance(item, str):
            items.append(unguard(item or "") if from_csv else item or "")
        elif isinstance(item, int) and not isinstance(item, bool) and not ours:
            items.append(str(item))
        else:
            raise UserError(
                f"{path}: row {row}: item {item!s} is no longer text, its name may have lost "
                f"digits: {_AS_TEXT}"
            )
    return items


def _check_numbers(path: Path, classes: Sequence[str]) -> None:
    """Refuse whole numbers as labels where the class list has a name that a number cannot hold."""
    if damaged := [name for name in classes if changed_as_number(name)]:
        raise UserError(
            f"{path}: the labels are numbers, which cannot say class {damaged[0]!r}: {_AS_TEXT}"
        )


def changed_as_number(name: str) -> bool:
    """Whether a program that takes the name for a number writes it as another text: 007, 1.0, 1e5."""
    try:
        float(name)
    except ValueError:
        return False
    return re.fullmatch("0|-?[1-9][0-9]{0,14}", name) is None


def _first_empty(column: Sequence[str | None]) -> int | None:
    return next((row for row, kind in enumerate(column) if not kind), None)


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
            names = parse_json(text)
        except ValueError:
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
    return [_names(cell, f"{path}: row {row}", texts) for row, cell in enumerate(column, 1)]


def _names(cell: Any, where: str, texts: set[str]) -> list[str]:
    """The class names in a cell of any container: a list, or text as it stands in a CSV."""
    if isinstance(cell, list):
        if None in cell:
            raise UserError(f"{where} has a null among its labels")
        return [_name(entry, where) for entry in cell]
    if cell is None or cell != cell:
        return []
    return (
        split_labels(unguard(cell), where, texts) if isinstance(cell, str) else [_name(cell, where)]
    )


def _name(entry: Any, where: str) -> str:
    if isinstance(entry, str | int) and not isinstance(entry, bool):
        return str(entry)
    raise UserError(f"{where}: label {entry!s} is no longer text: {_AS_TEXT}")


def read_csv(path: Path) -> Cells:
    """The cells of a CSV file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return _rows_of_csv(path, file)


def _rows_of_csv(path: Path, file: IO[str]) -> Cells:
    header, rows = csv_table(path, file)
    _need_columns(path, header)
    at = {name: header.index(name) for name in _COLUMNS if name in header}
    try:
        quick = _columns_of_csv(path, len(header), at)
    except UserError:  # the reader of rows knows the line
        quick = None
    return _rows(path, at, rows) if quick is None else quick


def _columns_of_csv(path: Path, header: int, at: dict[str, int]) -> Cells | None:
    """The same from whole columns, where the file is large and plain; None: it is not.

    Raises:
        UserError: a cell is not what it should be.
    """
    import numpy as np

    from .name_lists import NameLists

    others = {name: number for name, number in at.items() if name != "item"}
    quick = quick_columns(path, header, at["item"], list(others.values()))
    if quick is None or not quick.texts:
        return None

    def cells(name: str) -> tuple[NDArray[np.int32], list[str]]:
        """(N,) index into the different cells of a column."""
        return quick.coded[others[name]]

    texts: set[str] = set()

    def lists(name: str) -> NameLists:
        codes, found = cells(name)
        return NameLists(codes, [split_labels(unguard(cell), str(path), texts) for cell in found])

    names = lists("labels")
    unknown = lists("unknown") if "unknown" in at else None
    weights = None
    if "weight" in at:
        codes, found = cells("weight")
        parts = [split_weights(cell, str(path)) for cell in found]
        weights = [parts[code] for code in codes.tolist()]
    kinds: tuple[str, ...] = ()
    kindless = None
    if "kind" in at:
        codes, found = cells("kind")
        empty = np.array([not cell.strip() for cell in found])[codes]
        kinds = tuple(sorted({cell.strip() for cell in found} - {""}))
        kindless = int(np.flatnonzero(empty)[0]) if empty.any() else None
    listed = [cell.strip() for cell in cells("classes")[1]] if "classes" in at else []
    kind = _one_kind(path, kinds)
    classes = _one_list(path, [cell for cell in listed if cell])
    source = (
        next((unguard(cell) for cell in cells("source")[1] if cell), "") if "source" in at else ""
    )
    items = [unguard(item) for item in quick.texts] if quick.apostrophe else quick.texts
    return Cells(
        items,
        names,
        weights,
        unknown,
        source,
        classes,
        kind,
        texts,
        "classes" in at and classes is None,
        kindless if kind else None,
    )


def _rows(path: Path, at: dict[str, int], rows: Iterable[tuple[int, list[str]]]) -> Cells:
    from .name_lists import NameLists

    items, names, source = [], [], ""
    texts: set[str] = set()
    kinds: list[str] = []
    lists: dict[str, None] = {}
    weights: list[list[float]] | None = [] if "weight" in at else None
    unknown: list[list[str]] | None = [] if "unknown" in at else None
    for number, cells in rows:
        where = f"{path}: line {number}"
        items.append(unguard(cells[at["item"]]))
        names.append(split_labels(unguard(cells[at["labels"]]), where, texts))
        if unknown is not None:
            unknown.append(split_labels(unguard(cells[at["unknown"]]), where, texts))
        if weights is not None:
            weights.append(split_weights(cells[at["weight"]], where))
        if "kind" in at:
            kinds.append(cells[at["kind"]].strip())
        if "classes" in at and (cell := cells[at["classes"]].strip()):
            lists[cell] = None
        if "source" in at and not source:
            source = unguard(cells[at["source"]])
    kind = _one_kind(path, sorted(set(kinds) - {""}))
    classes = _one_list(path, list(lists))
    kindless = _first_empty(kinds) if kind else None
    lost = "classes" in at and len(items) > 0 and classes is None
    given = None if unknown is None else NameLists.of(unknown)
    return Cells(
        items, NameLists.of(names), weights, given, source, classes, kind, texts, lost, kindless
    )


def split_labels(cell: str, where: str, texts: set[str] | None = None) -> list[str]:
    """The class names in one cell of text: a JSON list, or names between ``|`` or ``;``.

    Args:
        texts: is given the names that were plain text.
    """
    cell = cell.strip()
    if cell.startswith("["):
        try:
            parsed = parse_json(cell)
        except ValueError:
            parsed = None
        if not isinstance(parsed, list):
            raise UserError(
                f"{where}: labels look like a JSON list but are not one: {cell[:60]!r}; write lists to "
                "Parquet, or join the names: cat|dog"
            )
        if any(not isinstance(name, str | int) or isinstance(name, bool) for name in parsed):
            raise UserError(f"{where}: labels are names, got {cell[:60]!r}")
        return [str(name) for name in parsed]
    names = [name for part in re.split(r"[|;]", cell) if (name := part.strip())]
    if texts is not None:
        texts.update(names)
    return names


def split_weights(cell: Any, where: str) -> list[float]:
    """The weights in a cell of any container: a list, a number, or text."""
    if cell is None or (isinstance(cell, float) and cell != cell):
        return []
    if isinstance(cell, str):
        text = cell.strip()  # commas part the numbers of a list; outside of one, 0,5 is none
        parts = re.split(r"[,\s]+", text[1:-1]) if text[:1] == "[" else re.split(r"[|;]", text)
        cell = [part for part in parts if part]
    try:
        return [float(weight) for weight in (cell if isinstance(cell, list) else [cell])]
    except (TypeError, ValueError):
        raise UserError(f"{where}: weight is not a number") from None


def _need_columns(path: Path, columns: Sequence[str]) -> None:
    """Refuse a table without items or labels, or with a second column of such a name but for its case."""
    for name in _COLUMNS:
        other = next((c for c in columns if c != name and c.strip().lower() == name), None)
        if name in columns and other is not None:
            raise UserError(
                f"{path}: the columns {name!r} and {other!r} differ in case alone, and {name!r} would be "
                "read: remove or rename one of them"
            )
    for name in ("item", "labels"):
        if name not in columns:
            found = ", ".join(columns) or "none"
            raise UserError(f"{path}: no column {name!r} (found: {found})")
