"""Label tables: the one format that every part of reteach reads and writes.

==========  ==========================================================================
column      content
==========  ==========================================================================
``item``    the image: its path relative to the image folder, ``/`` between the parts
``labels``  class names; Parquet: a list of strings. CSV: one name, several separated
            by ``|`` or ``;``, or a JSON list. Empty: no label (see ``labels.py``)
``weight``  optional, one number per label in the same order (makes the table *soft*)
``score``   optional, one number per label in the same order: how sure the labeller was;
            for people and filters, the labels mean the same without it
``unknown`` optional, written like ``labels``: the classes of which nobody knows whether the
            image has them. All others that are not among its labels are absent
``source``  optional, where the labels come from ("human", "mile rho=0.25 …")
==========  ==========================================================================

The class list and its order travel in the Parquet metadata (key ``reteach.classes``), together with
the kind of label set; in a CSV the classes are the names that occur, sorted. Other columns are
left alone by readers.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .files import atomic_path, atomic_write
from .labels import LabelSet, Multi, Rows, Single, Soft

Kind = Literal["single", "multi", "soft"]

_COLUMNS = ("item", "labels", "weight", "unknown", "source")


@dataclass(frozen=True)
class LabelTable:
    """A label set with the names of its items and where it comes from."""

    items: tuple[str, ...]
    labels: LabelSet
    source: str = ""

    def __post_init__(self) -> None:
        if len(self.items) != len(self.labels):
            raise ValueError(f"{len(self.items)} items but labels for {len(self.labels)}")

    def aligned(self, items: Sequence[str], what: str = "the label table") -> LabelSet:
        """The labels of ``items``, in their order.

        Items that the table does not have are unlabelled, which only a ``Single`` can say.

        Raises:
            UserError: the table names an item that is not among ``items``, or has none of them.
        """
        position = {item: row for row, item in enumerate(items)}
        foreign = [item for item in self.items if item not in position]
        if foreign:
            raise UserError(
                f"{what}: {len(foreign)} of {len(self.items)} items are not among the images, "
                f"first: {foreign[0]!r} (the images are called like {items[0]!r})"
                if items
                else f"{what}: there are no images"
            )
        rows = np.full(len(items), -1, np.int64)
        rows[[position[item] for item in self.items]] = np.arange(len(self.items))
        if isinstance(self.labels, Single):
            return Single(np.append(self.labels.index, -1)[rows], self.labels.classes)
        if (rows < 0).any():
            missing = items[int(np.flatnonzero(rows < 0)[0])]
            raise UserError(
                f"{what}: {int((rows < 0).sum())} of {len(items)} images have no row, "
                f"first: {missing!r}; an image without any label needs a row with empty labels"
            )
        return self.labels.take(rows)


def read_labels(
    path: str | Path, *, kind: Kind | None = None, classes: Sequence[str] | None = None
) -> LabelTable:
    """Read a label table (``.parquet`` or ``.csv``).

    Args:
        kind: what the labels are to be. By default what the file says of itself; a CSV is *soft*
            when it has a ``weight`` column, *multi* when some item has two labels or the table has an
            ``unknown`` column, else *single*.
        classes: the class list to use; every name in the table must be in it.

    Raises:
        UserError: no such file, a missing column, an item twice, an unknown class, bad weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"label table {path} does not exist")
    check_suffix(path)
    raw = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    names, weights = raw.names, raw.weights
    seen: dict[str, int] = {}
    for row, item in enumerate(raw.items):
        if item in seen:
            raise UserError(
                f"{path}: item {item!r} stands in rows {seen[item] + 1} and {row + 1}; several labels "
                "of an item go into one row: cat|dog"
            )
        seen[item] = row
    used = {name for entry in (*names, *(raw.unknown or ())) for name in entry}
    table_classes = tuple(raw.classes if raw.classes is not None else sorted(used))
    said: Any = raw.kind
    if kind is None:
        if said in ("single", "multi", "soft"):
            kind = said
        elif weights is not None:
            kind = "soft"
        elif raw.unknown is not None:
            kind = "multi"
        else:
            kind = "multi" if any(len(entry) > 1 for entry in names) else "single"
    missing = used - set(table_classes)
    if missing:
        raise UserError(f"{path}: class {min(missing)!r} is not in the file's own class list")
    labels = _build(path, kind, raw, table_classes)
    if classes is not None:
        labels = labels.reorder(tuple(classes), what=str(path))
    return LabelTable(tuple(raw.items), labels, raw.source)


def write_labels(
    path: str | Path, table: LabelTable, scores: NDArray[np.float32] | None = None
) -> None:
    """Write a label table as Parquet or CSV, after the ending of ``path``; whole or not at all.

    Args:
        scores: one per label, in the order of ``table.labels.pairs()``: the column ``score``.
    """
    path = Path(path)
    labels = table.labels
    rows, columns, weights = labels.pairs()
    starts = np.searchsorted(rows, np.arange(len(labels) + 1))
    names = [[labels.classes[c] for c in columns[a:b]] for a, b in pairwise(starts)]
    lists = {"labels": names}
    if isinstance(labels, Multi) and labels.unknown is not None:
        lists["unknown"] = labels.unknown.names()
    kind = type(labels).__name__.lower()
    extra = {"weight": weights} if kind == "soft" else {}
    extra |= {} if scores is None else {"score": scores}
    numbers = {
        column: [values[a:b].tolist() for a, b in pairwise(starts)]
        for column, values in extra.items()
    }
    if path.suffix.lower() == ".csv":
        atomic_write(path, _to_csv(table, lists, numbers))
        return
    check_suffix(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    content: dict[str, Any] = {"item": pa.array(table.items, pa.string())}
    content |= {c: pa.array(values, pa.list_(pa.string())) for c, values in lists.items()}
    content |= {c: pa.array(values, pa.list_(pa.float32())) for c, values in numbers.items()}
    content["source"] = pa.array([table.source] * len(table.items)).dictionary_encode()
    meta = {"reteach.classes": json.dumps(labels.classes), "reteach.kind": kind}
    with atomic_path(path) as part:
        pq.write_table(pa.table(content).replace_schema_metadata(meta), part)


def check_suffix(path: Path) -> None:
    """Refuse a path that no label table is read from or written to.

    Raises:
        UserError: it ends in neither ``.parquet`` nor ``.csv``.
    """
    if path.suffix.lower() not in (".parquet", ".csv"):
        raise UserError(f"{path}: a label table is a .parquet or .csv file")


@dataclass(frozen=True)
class _Raw:
    """What stands in a file, row by row."""

    items: list[str]
    names: list[list[str]]
    weights: list[list[float]] | None
    unknown: list[list[str]] | None
    source: str
    classes: list[str] | None = None
    kind: str | None = None


def _build(path: Path, kind: Kind, raw: _Raw, classes: tuple[str, ...]) -> LabelSet:
    names, weights = raw.names, raw.weights
    if raw.unknown is not None and kind != "multi" and any(raw.unknown):
        raise UserError(f"{path}: only label sets can have unknown classes, and this is {kind}")
    rows, columns = _entries(names, classes)
    lengths = np.array([len(entry) for entry in names], np.int64)
    if kind == "soft":
        given = weights if weights is not None else [[1.0] * len(entry) for entry in names]
        for row, (entry, weight) in enumerate(zip(names, given, strict=True)):
            if len(entry) != len(weight):
                raise UserError(
                    f"{path}: row {row + 1} has {len(entry)} labels but {len(weight)} weights"
                )
        starts = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.array([w for weight in given for w in weight], np.float32)
        return Soft(starts, columns, classes, flat)
    multi = Multi.from_pairs(rows, columns, len(names), classes)
    if kind == "multi":
        if raw.unknown is None:
            return multi
        unknown = Multi.from_pairs(*_entries(raw.unknown, classes), len(names), classes)
        try:
            return multi.with_unknown(unknown)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    if (lengths > 1).any():
        row = int(np.flatnonzero(lengths > 1)[0])
        raise UserError(
            f"{path}: row {row + 1} has {lengths[row]} labels where a single one is needed; "
            "use a multi-label method (asl, cpsd) or keep one label per item"
        )
    return multi.as_single()


def _entries(names: list[list[str]], classes: tuple[str, ...]) -> tuple[Rows, Rows]:
    """(row, class) of each name."""
    position = {name: i for i, name in enumerate(classes)}
    columns = np.array([position[name] for entry in names for name in entry], np.int64)
    return np.repeat(np.arange(len(names)), [len(entry) for entry in names]), columns


def _read_parquet(path: Path) -> _Raw:
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
    names = _lists(table["labels"].to_pylist())
    unknown = _lists(table["unknown"].to_pylist()) if "unknown" in wanted else None
    weights = None
    if "weight" in wanted:
        column = table["weight"].to_pylist()
        weights = [w if isinstance(w, list) else ([] if w is None else [w]) for w in column]
    source = ""
    if "source" in wanted and len(table):
        source = str(table["source"][0].as_py() or "")
    meta = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items() if b"reteach" in k}
    try:
        classes = json.loads(meta["reteach.classes"]) if "reteach.classes" in meta else None
    except json.JSONDecodeError:
        raise UserError(f"{path}: the class list in its metadata is damaged") from None
    return _Raw(items, names, weights, unknown, source, classes, meta.get("reteach.kind"))


def _lists(column: list[Any]) -> list[list[str]]:
    """The class names in each cell of a Parquet column: a list, one text, or nothing."""
    return [
        [str(name) for name in entry]
        if isinstance(entry, list)
        else ([] if entry is None or entry == "" else [str(entry)])
        for entry in column
    ]


def _read_csv(path: Path) -> _Raw:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in next(reader, [])]
    _need_columns(path, header)
    at = {name: header.index(name) for name in _COLUMNS if name in header}
    items, names, source = [], [], ""
    weights: list[list[float]] | None = [] if "weight" in at else None
    unknown: list[list[str]] | None = [] if "unknown" in at else None
    for number, cells in enumerate(reader, start=2):
        if not cells:
            continue
        if len(cells) < len(header):
            raise UserError(f"{path}: line {number} has {len(cells)} of {len(header)} columns")
        items.append(cells[at["item"]])
        names.append(split_labels(cells[at["labels"]], f"{path}: line {number}"))
        if unknown is not None:
            unknown.append(split_labels(cells[at["unknown"]], f"{path}: line {number}"))
        if weights is not None:
            try:
                weights.append([float(w) for w in re.split(r"[|;]", cells[at["weight"]]) if w])
            except ValueError:
                raise UserError(f"{path}: line {number}: weight is not a number") from None
        if "source" in at and not source:
            source = cells[at["source"]]
    return _Raw(items, names, weights, unknown, source)


def split_labels(cell: str, where: str) -> list[str]:
    """The class names in one CSV cell: a JSON list, or names between ``|`` or ``;``."""
    cell = cell.strip()
    if cell.startswith("["):
        try:
            parsed = json.loads(cell)
        except json.JSONDecodeError:
            parsed = None
        if not isinstance(parsed, list):
            raise UserError(f"{where}: labels look like a JSON list but are not one: {cell[:60]!r}")
        return [str(name) for name in parsed]
    return [name for part in re.split(r"[|;]", cell) if (name := part.strip())]


def _to_csv(
    table: LabelTable, lists: dict[str, list[list[str]]], numbers: dict[str, list[list[float]]]
) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["item", *lists, *numbers, "source"])
    for row, item in enumerate(table.items):
        texts = [_cell(names[row]) for names in lists.values()]
        cells = ["|".join(f"{v:.9g}" for v in values[row]) for values in numbers.values()]
        writer.writerow([item, *texts, *cells, table.source])
    return out.getvalue()


def _cell(names: list[str]) -> str:
    """Class names as :func:`split_labels` reads them."""
    plain = all(name == name.strip() and not re.search(r"[|;\[]", name) for name in names)
    return "|".join(names) if plain else json.dumps(names, ensure_ascii=False)


def _need_columns(path: Path, columns: Sequence[str]) -> None:
    for name in ("item", "labels"):
        if name not in columns:
            found = ", ".join(columns) or "none"
            raise UserError(f"{path}: no column {name!r} (found: {found})")


def _one_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
