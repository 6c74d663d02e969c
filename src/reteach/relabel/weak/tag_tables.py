"""Tables of hashtags or queries turned into label tables: SQL, for any number of images."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import atomic_path
from ...parquet import open_parquet
from ...spreadsheet import csv_table, from_csv, unguard
from ...tables import repeated
from ..selection.database import Database, Limits, arrow, database, numpy, quoted
from .hashtags import Matcher

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 2**17
_PARQUET = "read_parquet($files, hive_partitioning = false)"
_COLUMNS = ("tags", "tag", "query")


@dataclass(frozen=True)
class Tagged:
    """What came out: arrays are (C,)."""

    images: int
    """Images in the table, with a hashtag or query or without."""
    labelled: int
    """Those of them with at least one class."""
    tags: int
    """Different hashtags or queries."""
    matched: int
    """Those of them that name a class."""
    counts: NDArray[np.int64]
    """Images per class."""


def label_tags(table: Path, out: Path, match: Matcher, limits: Limits | None = None) -> Tagged:
    """Write the label table of the images whose tags name a class.

    The input has a row per image, or several: ``item`` and one of ``tags`` (a list; or text with
    tags between spaces, commas, ``;``, ``|`` or ``#``), ``tag`` (one) or ``query`` (one, with
    spaces). The output is a *soft* label table: the ``weight`` of a class is how many of the
    image's tags name it.

    Args:
        table: .csv, .parquet, or a folder of Parquet shards.
        out: .parquet.

    Raises:
        UserError: no such table, a missing column, or no tag that names a class.
    """
    if not table.exists():
        raise UserError(f"tags {table} do not exist")
    with (
        database(f"reading the tags in {table}", limits or Limits(), out.parent) as db,
        TemporaryDirectory(prefix=".tags-", dir=out.parent) as folder,
    ):
        source, items, files = _source(db, table, Path(folder))
        tags = matched = 0
        pairs: list[tuple[str, int]] = []
        for tag in _different(db, source, files, Path(folder)):
            named = match(tag)
            tags += 1
            matched += bool(named)
            pairs += [(tag, cls) for cls in named]
        if not pairs:
            raise UserError(f"{table}: none of its {tags:,} hashtags or queries names a class")
        db.give("named", {"tag": [tag for tag, _ in pairs], "class": [cls for _, cls in pairs]})
        images = _images(db, table, items, files)
        rows = _sorted(db, source, files, Path(folder))
        labelled, counts = _write(rows, out, match.classes)
        return Tagged(images, labelled, tags, matched, counts)


def _different(db: Database, source: str, files: list[Path], folder: Path) -> Iterator[str]:
    """The different tags: a file, as there may be as many queries as images, and results are held whole."""
    file = folder / "tags.parquet"
    db.frugal(_copy(f"select distinct tag from ({source})", file), files)
    with open_parquet(file) as reader:
        for batch in reader.iter_batches(BATCH, use_threads=False):
            yield from batch.column(0).to_pylist()


def _copy(query: str, file: Path) -> str:
    """The statement that writes what a query finds."""
    return f"copy ({query}) to {quoted(str(file))} (format parquet, row_group_size {BATCH})"


def _images(db: Database, table: Path, items: str, files: list[Path]) -> int:
    """How many there are; a tag of nobody's would count for none of them."""
    ((images, nobody),) = db.frugal(
        f"select count(distinct item), count(*) filter (item is null or item = '') from ({items})",
        files,
    )
    if nobody:
        raise UserError(f"{table}: {nobody:,} rows name no item")
    return int(images)


def _csv_as_parquet(path: Path, folder: Path) -> Path:
    """A CSV of tags as Parquet: what is a row and a cell has one definition, that of all our tables."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = folder / "given.parquet"
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, rows = csv_table(path, file)
        at = [header.index(name) for name in _columns(path, header)]
        names = [header[column] for column in at]
        schema = pa.schema([(name, pa.string()) for name in names])
        with pq.ParquetWriter(out, schema) as writer:
            while batch := list(islice(rows, BATCH)):
                cells = [[unguard(row[column]) for _, row in batch] for column in at]
                writer.write_table(pa.table(dict(zip(names, cells, strict=True)), schema=schema))
    return out


def _columns(table: Path, header: Iterable[str]) -> tuple[str, str]:
    """The columns that are read."""
    found = list(header)
    tags = [name for name in _COLUMNS if name in found]
    if "item" not in found or not tags:
        wanted = "'item'" if "item" not in found else " or ".join(map(repr, _COLUMNS))
        raise UserError(f"{table}: no column {wanted} (found: {', '.join(found)})")
    if len(tags) > 1:
        raise UserError(
            f"{table}: the columns {tags[0]!r} and {tags[1]!r} both hold tags: remove or rename one of them"
        )
    return "item", tags[0]


def _source(db: Database, table: Path, folder: Path) -> tuple[str, str, list[Path]]:
    """A query for (item, tag), one row per tag; one for the items; and the files that they read."""
    files = sorted(table.glob("*.parquet")) if table.is_dir() else [table]
    if not files:
        raise UserError(f"the folder {table} has no .parquet files")
    ending = files[0].suffix.lower()
    if ending not in (".parquet", ".csv"):
        raise UserError(f"{table}: tags are in a .csv file, a .parquet file or a folder of them")
    if ending == ".csv":
        files = [_csv_as_parquet(table, folder)]
    types = {row[0]: row[1] for row in db.run(f"describe select * from {_PARQUET}", files)}
    _, column = _columns(table, types)
    tag = f'"{column}"'
    if types[column].endswith("[]"):
        tag = f"unnest({tag})"
    elif column == "tags":
        tag = "unnest(string_split_regex(tags, '[\\s,;|#]+'))"
    rows = f"select item::VARCHAR as item, {tag} as tag from {_PARQUET}"
    items = f"select item::VARCHAR as item from {_PARQUET}"
    return f"select item, tag from ({rows}) where tag <> ''", items, files


def schema_of(classes: Sequence[str]) -> pa.Schema:
    """The columns of the table of labels."""
    import pyarrow as pa

    text = (
        (name, pa.dictionary(pa.int32(), pa.string())) for name in ("kind", "classes", "source")
    )
    lists = [("labels", pa.list_(pa.string())), ("weight", pa.list_(pa.float32()))]
    meta = {"reteach.classes": json.dumps(classes), "reteach.kind": "soft"}
    return pa.schema([("item", pa.string()), *lists, *text], meta)


def _sorted(db: Database, source: str, files: list[Path], folder: Path) -> Path:
    """A file with ``item`` and ``class`` of each tag that names one, by item, then class.

    Sorting takes no more memory for more rows, grouping does; a table of the database is held for as long as
    there is room.
    """
    pairs, found = folder / "pairs.parquet", folder / "sorted.parquet"
    db.frugal(_copy(f"select item, class from ({source}) join named using (tag)", pairs), files)
    db.run("set preserve_insertion_order = true")
    ordered = f"select item, class from {_PARQUET} order by item, class"
    db.frugal(_copy(ordered, found), [pairs])
    pairs.unlink()
    return found


def _write(file: Path, out: Path, classes: tuple[str, ...]) -> tuple[int, NDArray[np.int64]]:
    """The sorted rows as a label table; the items, and (C,) those of each class."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = schema_of(classes)
    names = arrow(list(classes)).cast(pa.string())
    written, counts = 0, np.zeros(len(classes), np.int64)
    with atomic_path(out) as part, pq.ParquetWriter(part, schema) as writer:
        for rows in _whole_items(file):
            item, cls = rows["item"].chunk(0), numpy(rows["class"].chunk(0))
            other = _changes(item)
            each = np.flatnonzero(other | np.r_[True, cls[1:] != cls[:-1]])  # of an item and class
            first = np.flatnonzero(other)
            ends = np.r_[np.searchsorted(each, first), len(each)].astype(np.int32)
            weight = np.diff(np.r_[each, len(cls)]).astype(np.float32)
            written += len(first)
            counts += np.bincount(cls[each], minlength=len(classes))
            columns = [
                item.take(arrow(first)),
                pa.ListArray.from_arrays(arrow(ends), names.take(arrow(cls[each]))),
                pa.ListArray.from_arrays(arrow(ends), arrow(weight)),
                *(repeated(text, len(first)) for text in ("soft", json.dumps(classes), "hashtags")),
            ]
            writer.write_table(pa.table(columns, schema=schema))
    return written, counts


def _whole_items(file: Path) -> Iterator[pa.Table]:
    """The sorted rows in pieces of one chunk each, an item's rows together.

    Raises:
        UserError: they are not sorted, so that an item might come twice.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    waiting: list[pa.Table] = []
    with open_parquet(file) as reader:
        for batch in reader.iter_batches(BATCH // 4, use_threads=False):
            rows = pa.concat_tables([*waiting, pa.table(batch)]).combine_chunks()
            item = rows["item"].chunk(0)
            if pc.any(pc.less(item[1:], item[:-1])).as_py():
                raise UserError(
                    "DuckDB did not sort the items of the tags: install another version of duckdb"
                )
            last = int(np.flatnonzero(_changes(item))[-1])
            waiting = [rows.slice(last)]
            if last:
                yield rows.slice(0, last).combine_chunks()
    yield from waiting


def _changes(item: pa.Array) -> NDArray[np.bool_]:
    """(N,) whether another item begins."""
    import pyarrow.compute as pc

    found = numpy(pc.not_equal(item[1:], item[:-1]).cast("uint8"))
    return np.concatenate([np.ones(1, np.bool_), found.astype(np.bool_)])


def read_names(path: Path) -> dict[str, str]:
    """Further names of classes: a .csv or .tsv with ``class`` (or ``wnid``) and ``names`` (or
    ``lemmas``), several names of a class between commas.

    Raises:
        UserError: no such file, or a missing column.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    header, rows = from_csv(path, "table of class names", delimiter)
    cls = next((name for name in ("class", "wnid") if name in header), None)
    names = next((name for name in ("names", "lemmas") if name in header), None)
    if cls is None or names is None:
        raise UserError(
            f"{path}: needs the columns 'class' and 'names' (found: {', '.join(header)})"
        )
    found: dict[str, list[str]] = {}
    for _, row in rows:
        found.setdefault(row[cls], []).append(re.sub(r"[|;]", ",", row[names]))
    return {name: ",".join(each) for name, each in found.items()}
