"""Hugging Face data sets on disk: a folder of images with metadata, and Parquet with an ``Image`` column.

No network and no ``datasets`` is needed: what the columns mean stands in the files. A label column holds
class names, or the numbers of a ``ClassLabel``; or lists of either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...files import atomic_path, new_folder
from ...labels import Single
from ...parquet import CHECKED, parquet_errors, read_columns, read_schema
from ...spreadsheet import check_columns, from_csv
from ...structured import parse_json
from ...table_files import split_labels
from ...tables import LabelTable
from .carry import unlabelled
from .images import copy, image_files
from .sets import labels_of

if TYPE_CHECKING:
    import pyarrow as pa

    from ...options.convert import ConvertOptions

_AT_ONCE = 64
"""Images in memory while a Parquet file is written."""
_USUAL = ("label", "labels")


def read_folder(source: Path, options: ConvertOptions) -> LabelTable:
    """An image folder with ``metadata.csv``, ``.jsonl`` or ``.parquet``; items are its ``file_name``.

    Raises:
        UserError: no metadata, no label column, or two of which none is chosen.
    """
    folder = source if options.split is None else source / options.split
    files = [folder / f"metadata.{ending}" for ending in ("jsonl", "csv", "parquet")]
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        raise UserError(
            f"{folder} has no metadata.jsonl, .csv or .parquet; class folders are read as yolo, and "
            "train without a table"
        )
    columns = _columns(file)
    if "file_name" not in columns:
        raise UserError(f"{file}: no column 'file_name' (found: {', '.join(columns) or 'none'})")
    said, classes, several = _labels(file, columns, options.label_column)
    items = [_text(name, f"{file}: row {i}") for i, name in enumerate(columns["file_name"], 1)]
    return labels_of(items, said, classes, several, f"hf-folder: {source.name}", str(file))


def _text(item: Any, where: str) -> str:
    if not isinstance(item, str) or not item:
        raise UserError(f"{where} names no file: {str(item)[:60]!r}")
    return item


def _columns(file: Path) -> dict[str, list[Any]]:
    if file.suffix == ".parquet":
        check_columns(file, read_schema(file).names)
        return {name: column.to_pylist() for name, column in _cells(read_columns(file))}
    if file.suffix == ".csv":
        header, rows = from_csv(file, "metadata")
        return {name: [cells[name] for _, cells in rows] for name in header}
    rows_ = list(_json_lines(file))
    names = list(dict.fromkeys(name for row in rows_ for name in row))
    return {name: [row.get(name) for row in rows_] for name in names}


def _cells(table: pa.Table) -> Iterator[tuple[str, Any]]:
    return zip(table.column_names, table.columns, strict=True)


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                row = parse_json(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise UserError(f"{file} line {number}: not an object of JSON")
            yield row


def _labels(
    file: Path, columns: dict[str, list[Any]], column: str | None, features: Any = None
) -> tuple[list[list[str] | None], list[str] | None, bool]:
    """The class names of each row (None: nobody labelled it), the class list, and whether they are sets."""
    found = [name for name in _USUAL if name in columns]
    if column is None and len(found) != 1:
        which = "none of" if not found else "both"
        raise UserError(
            f"{file}: {which} the columns label and labels: name one with --label-column "
            f"(found: {', '.join(columns)})"
        )
    column = column or found[0]
    if column not in columns:
        raise UserError(f"{file}: no column {column!r} (found: {', '.join(columns)})")
    several, names = _feature((features or {}).get(column))
    cells = [_cell(cell, names, f"{file}: row {i}") for i, cell in enumerate(columns[column], 1)]
    lists = any(isinstance(cell, list) for cell in columns[column])
    lists = lists or any(cell is not None and len(cell) > 1 for cell in cells)
    return cells, names, several or lists


def _feature(feature: Any) -> tuple[bool, list[str] | None]:
    """Whether a feature is a list, and the names of its ``ClassLabel``."""
    if isinstance(feature, list):
        return True, _feature(feature[0] if feature else None)[1]
    if not isinstance(feature, dict):
        return False, None
    if feature.get("_type") in ("Sequence", "List", "LargeList"):
        return True, _feature(feature.get("feature"))[1]
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    return False, [str(name) for name in names] if isinstance(names, list) else None


def _cell(cell: Any, names: list[str] | None, where: str) -> list[str] | None:
    if cell is None or cell == "" or (cell == -1 and names is not None):
        return None
    if isinstance(cell, str) and names is None:
        return split_labels(cell, where) if cell.lstrip().startswith("[") else [cell]
    return [_name(each, names, where) for each in (cell if isinstance(cell, list) else [cell])]


def _name(value: Any, names: list[str] | None, where: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{where}: label {str(value)[:60]!r} is neither a class name nor a number")
    if names is None:
        raise UserError(
            f"{where}: label {value} is a number, and nothing says what it is called; write the names"
        )
    if not 0 <= value < len(names):
        raise UserError(f"{where}: class {value} of {len(names)}")
    return names[value]


def write_folder(table: LabelTable, out: Path, options: ConvertOptions) -> tuple[str, ...]:
    """Images and ``metadata.jsonl`` with ``file_name`` and ``label``, or ``labels`` of sets."""
    files = image_files(options.images, table.items, "hf-folder")
    one = isinstance(table.labels, Single)
    rows = zip(table.items, table.labels.names(), unlabelled(table.labels).tolist(), strict=True)
    with new_folder(out) as folder:
        lines = [
            json.dumps({"file_name": item} | _said(names, nobody, one), ensure_ascii=False)
            for item, names, nobody in rows
        ]
        (folder / "metadata.jsonl").write_text("\n".join([*lines, ""]), "utf-8")
        for file, item in zip(files, table.items, strict=True):
            copy(file, folder / item)
    return ()


def _said(names: list[str], nobody: bool, one: bool) -> dict[str, Any]:
    if one:
        return {"label": None if nobody else names[0]}
    return {"labels": None if nobody else names}


def read_parquet(source: Path, options: ConvertOptions) -> LabelTable:
    """One Parquet file, or a folder of shards ``SPLIT-00000-of-00002.parquet``, also in ``data/``.

    Items are those of the column ``item``; without one as ``--images hf:SOURCE`` has them: ``SPLIT/ROW`` of a
    folder, the row of a file.

    Raises:
        UserError: nothing of the kind, no label column, or two of which none is chosen.
    """
    split = options.split or "train"
    if source.is_dir():
        pattern = f"{split}-*.parquet"
        files = sorted(source.glob(pattern)) or sorted((source / "data").glob(pattern))
        if not files:
            raise UserError(f"{source} has no {pattern}")
        prefix = f"{split}/"
    elif options.split is not None:
        raise UserError(f"--split chooses among the files of a folder; {source} is one file")
    else:
        files, prefix = [source], ""
    features = _features(files[0])
    columns: dict[str, list[Any]] = {}
    for file in files:
        schema = read_schema(file)
        if _features(file) != features or schema.names != read_schema(files[0]).names:
            raise UserError(f"{file} has other columns or classes than {files[0]}: read it alone")
        check_columns(file, schema.names)
        wanted = [field.name for field in schema if not _is_image(field)]
        for name, cells in _cells(read_columns(file, wanted)):
            columns.setdefault(name, []).extend(cells.to_pylist())
    said, classes, several = _labels(files[0], columns, options.label_column, features)
    named = enumerate(columns.get("item", []), 1)
    items = [_text(name, f"{source}: row {i}") for i, name in named]
    items = items or [f"{prefix}{row}" for row in range(len(said))]
    return labels_of(items, said, classes, several, f"hf-parquet: {source.name}", str(source))


def _features(file: Path) -> dict[str, Any]:
    """What the columns mean: ``datasets`` keeps it in the schema's metadata."""
    text = (read_schema(file).metadata or {}).get(b"huggingface")
    try:
        content = parse_json(text) if text else {}
        found = content.get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        raise UserError(f"{file}: its Hugging Face features are damaged") from None
    return found if isinstance(found, dict) else {}


def _is_image(field: pa.Field) -> bool:
    import pyarrow as pa

    names = {each.name for each in field.type} if pa.types.is_struct(field.type) else set()
    return {"bytes", "path"} <= names


def write_parquet(table: LabelTable, out: Path, options: ConvertOptions) -> tuple[str, ...]:
    """One file with ``image``, ``item`` and ``label`` (a ``ClassLabel``), or ``labels``, a list of them.

    Raises:
        UserError: not a .parquet, no ``--images``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if out.suffix.lower() != ".parquet":
        raise UserError(f"{out}: Hugging Face's tables are .parquet")
    files = image_files(options.images, table.items, "hf-parquet")
    one = isinstance(table.labels, Single)
    schema = _schema(table.labels.classes, one)
    column = {name: i for i, name in enumerate(table.labels.classes)}
    numbers = [[column[name] for name in names] for names in table.labels.names()]
    nobody = unlabelled(table.labels).tolist()
    with (
        atomic_path(out) as part,
        parquet_errors(part),
        pq.ParquetWriter(part, schema, **CHECKED) as to,
    ):
        for start in range(0, len(files), _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, len(files)))
            content = [
                {
                    "image": {"bytes": files[i].read_bytes(), "path": files[i].name},
                    "item": table.items[i],
                    schema.names[2]: None if nobody[i] else numbers[i][0] if one else numbers[i],
                }
                for i in rows
            ]
            to.write_table(pa.Table.from_pylist(content, schema))
    return ()


def _schema(classes: Sequence[str], one: bool) -> pa.Schema:
    import pyarrow as pa

    names = {"names": list(classes), "_type": "ClassLabel"}
    label = names if one else {"feature": names, "_type": "Sequence"}
    features = {
        "image": {"_type": "Image"},
        "item": {"dtype": "string", "_type": "Value"},
        "label" if one else "labels": label,
    }
    return pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("item", pa.string()),
            ("label" if one else "labels", pa.int64() if one else pa.list_(pa.int64())),
        ],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
