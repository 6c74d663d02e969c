"""``reteach pack``: images copied into tar shards of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .. import rng, sealed
from ..data.packing import PackedShards
from ..data.sources.base import is_video, need_pixels, open_source
from ..data.sources.parts import written_after
from ..errors import UserError
from ..files import atomic_path, remove_parts
from ..item_index import rows_among
from ..labels import Rows
from ..locks import entries, only_writer
from ..options.pack import PackOptions
from ..parquet import CHECKED, read_columns
from ..progress import note, progress
from ..relabel.selection.item_lists import read_items
from ..runs.inputs import cache_folder
from ..spreadsheet import from_csv
from ..tables import LabelTable, read_labels, write_labels
from ..unreadable import Unreadable, left_out, unreadable

_RECORD = "pack.json"
_ITEMS = "items.parquet"


@final
@dataclass(frozen=True)
class PackResult:
    """The shards that were written.

    Args:
        out: their folder.
        images: in them.
        of: images that were to choose from.
        shards: how many there are.
        table: the table of --items under the new names; None: there was none, or a mere list.
        unreadable: images that could not be read and are left out.
    """

    out: Path
    images: int
    of: int
    shards: int
    table: Path | None
    unreadable: Unreadable

    def lines(self) -> Iterator[str]:
        """How many images are in how many shards, and how they are opened."""
        shards = "1 shard" if self.shards == 1 else f"{self.shards:,} shards"
        yield f"{self.images:,} of {self.of:,} images in {shards}: --images '{self.out}/*.tar'"
        yield f"what they were called: {self.out / _ITEMS}"
        if self.table is not None:
            yield f"the table under their new names: {self.table}"


def pack(options: PackOptions) -> PackResult:
    """Copy images into tar shards.

    Raises:
        UserError: no images, an item that is not among them, features or videos, or a folder of something
            else.
    """
    source = open_source(options.images, cache=cache_folder())
    need_pixels(source, "pack")
    if is_video(source):
        raise UserError("pack copies still images, and these are videos")
    rows = np.arange(len(source))
    if options.items is not None:
        rows = _rows(options.items, source.items)
    if options.shuffle:
        rows = np.random.default_rng(rng.fold("pack")).permutation(rows)
    names = [source.items[row] for row in rows.tolist()]
    shards = PackedShards(source, rows, options.out, options.per_shard)
    with only_writer(options.out, worth="*.tar"):
        _claim(shards, names)
        reasons = _write(shards)
        new = _new_names(shards, names)
        lost = {name: reasons.get(name, "left out earlier") for name in names if name not in new}
        if not new:
            raise UserError(
                f"none of the {len(rows)} images can be read, first: {next(iter(lost.values()))}"
            )
        columns = {"item": list(new.values()), "original": list(new)}
        _write_parquet(options.out / _ITEMS, pa.table(columns))
        table = None if options.items is None else _renamed(options.items, options.out, new)
        said = unreadable(options.out, lost, left_out(source))
    return PackResult(options.out, len(new), len(source), len(shards), table, said)


def _rows(table: Path, items: Sequence[str]) -> Rows:
    """The rows of the items that a table names.

    Raises:
        UserError: it names none, or one that is not there.
    """
    wanted = list(dict.fromkeys(read_items(table)))
    at = rows_among(wanted, items)
    if not wanted:
        raise UserError(f"{table} names no items")
    if (missing := np.flatnonzero(at < 0)).size:
        raise UserError(
            f"{table}: {missing.size:,} of its {len(wanted):,} items are not among the images, first: "
            f"{wanted[missing[0]]!r}"
        )
    return np.sort(at)  # a source is read front to back


def _claim(shards: PackedShards, names: list[str]) -> None:
    """Note what the folder is to hold, or hold it against what an earlier attempt has noted.

    Raises:
        UserError: it holds something else.
    """
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()
    asked = {"items": digest, "per_shard": shards.per_shard}
    file = shards.folder / _RECORD
    if not file.exists():
        if entries(shards.folder):
            raise UserError(f"{shards.folder} holds something else: name another --out")
        sealed.write_json(file, asked)
        return
    found = sealed.read_json(file, f"delete {shards.folder}")
    if any(found.get(name) != value for name, value in asked.items()):
        raise UserError(
            f"{shards.folder} was begun with other images, another order or another --per-shard: "
            "name another --out"
        )


def _write(shards: PackedShards) -> dict[str, str]:
    """Write the shards that are not there yet; item -> reason of the images that are left out."""
    lost = {}
    remove_parts(shards.folder)
    with progress("packing", len(shards.rows)) as on_progress:
        for number in range(len(shards)):
            path, first = shards.path(number), number * shards.per_shard
            rows = shards.rows[first : first + shards.per_shard].tolist()
            if path.exists():
                if not (image := written_after(shards.source, rows, path)):
                    continue
                note(f"{image} was written after {path}, which is made anew")
            for done, (row, reason) in enumerate(shards.write(number), first + 1):
                if reason is not None:
                    lost[shards.source.items[row]] = reason
                on_progress(done)
    return lost


def _new_names(shards: PackedShards, names: list[str]) -> dict[str, str]:
    """Old name -> new one of the images that are in the shards, as these say themselves."""
    there: set[str] = set()
    for number in range(len(shards)):
        with suppress(UserError):  # no image of it could be read
            there.update(open_source(str(shards.path(number))).items)
    new = ((name, shards.item(at)) for at, name in enumerate(names))
    return {name: item for name, item in new if item in there}


def _renamed(table: Path, folder: Path, new: dict[str, str]) -> Path | None:
    """The table under the new names, without the images that are left out; None: it is a mere list.

    Of a Parquet table, all other columns and what it says of itself stay; a CSV file is a label table.
    """
    ending = table.suffix.lower()
    if ending == ".txt":
        return None
    if ending == ".csv":
        if set(from_csv(table, "table")[0]) == {"item"}:
            return None
        labels = read_labels(table)
        at = [row for row, item in enumerate(labels.items) if item in new]
        names = tuple(new[labels.items[row]] for row in at)
        out = folder / f"{table.stem}.parquet"
        write_labels(out, LabelTable(names, labels.labels.take(np.array(at)), labels.source))
        return out
    content = read_columns(table)
    if content.column_names == ["item"]:
        return None
    items = content["item"].to_pylist()
    kept = content.filter(pa.array([item in new for item in items]))
    renamed = pa.array([new[item] for item in items if item in new], pa.string())
    kept = kept.set_column(kept.column_names.index("item"), "item", renamed)
    return _write_parquet(folder / table.name, kept)


def _write_parquet(path: Path, table: pa.Table) -> Path:
    with atomic_path(path) as part:
        pq.write_table(table, part, **CHECKED)
    return path
