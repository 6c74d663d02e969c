"""Feature tables: what a frozen network says of images, computed once.

A folder of Parquet shards, and ``_features.json``, which says what belongs to it. Readers of whole folders
(pandas, pyarrow, DuckDB) leave out names that begin like this one:

==============  ==================================================================================
column          content
==============  ==================================================================================
``item``        string, as in the label tables
``features``    D float16: the pooled features of the image as evaluation sees it
``more_views``  optional, (V - 1) · D float16: of its flip, then of seeded crops
``class``       optional, string: the item's class, where its images lay in class folders or named it
==============  ==================================================================================

Each shard says under ``reteach.features`` in its schema, as JSON, how its features were made, which images
of its part could not be read, and a SHA-256 of its content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ... import sealed
from ...errors import UserError
from ...files import atomic_path
from ...parquet import read_columns, read_schema
from ...structured import parse_json

FORMAT = 1
INDEX = "_features.json"
OLD_INDEX = "features.json"
"""The name in earlier versions, over which readers of whole folders trip."""
KEY = b"reteach.features"
Half = NDArray[np.float16]


@final
@dataclass(frozen=True, eq=False)
class FeatureShard:
    """The features of one part of the images.

    Args:
        settings: how they were made, as JSON allows.
        part: what tells the part from others.
        items: M item ids.
        features: (M, V, D).
        unreadable: (item, reason) of the images that are not in it.
        class_of: M class names, where the images carry labels.
    """

    settings: dict[str, Any]
    part: str
    items: Sequence[str]
    features: Half
    unreadable: Sequence[tuple[str, str]] = ()
    class_of: Sequence[str] | None = None

    def digest(self) -> str:
        """SHA-256 of all of it."""
        said = [self.settings, self.part, list(self.items), [list(u) for u in self.unreadable]]
        if self.class_of is not None:
            said.append(list(self.class_of))
        found = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
        found.update(repr(self.features.shape).encode())
        found.update(np.ascontiguousarray(self.features).tobytes())
        return found.hexdigest()


def write_shard(path: Path, shard: FeatureShard) -> str:
    """Write a shard whole or not at all; returns its digest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, views, width = shard.features.shape
    digest = shard.digest()
    said = {
        "format": FORMAT,
        "settings": shard.settings,
        "part": shard.part,
        "unreadable": shard.unreadable,
        "views": views,
        "dimensions": width,
        "sha256": digest,
    }
    columns = {
        "item": pa.array(list(shard.items), pa.string()),
        "features": _lists(shard.features[:, 0]),
    }
    if views > 1:
        columns["more_views"] = _lists(shard.features[:, 1:].reshape(count, -1))
    if shard.class_of is not None:
        columns["class"] = pa.array(list(shard.class_of), pa.string()).dictionary_encode()
    table = pa.table(columns).replace_schema_metadata({KEY: json.dumps(said)})
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd")
    return digest


def _lists(values: Half) -> Any:
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values).ravel(), pa.float16())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def read_shard(path: Path) -> FeatureShard:
    """What :func:`write_shard` wrote.

    Raises:
        sealed.Damaged: it is not.
        UserError: of another format.
    """
    import pyarrow as pa

    then = "delete it and run the same reteach embed again"
    try:
        table = read_columns(path, use_threads=False)
        said = parse_json(table.schema.metadata[KEY])
        if said["format"] != FORMAT:
            raise UserError(
                f"{path} is of format {said['format']}, and this version reads {FORMAT}"
            )
        views, width = said["views"], said["dimensions"]
        parts = [_array(table["features"], width)]
        if views > 1:
            parts.append(_array(table["more_views"], (views - 1) * width))
        features = np.concatenate(parts, 1).reshape(len(table), views, width)
        unreadable = [(item, reason) for item, reason in said["unreadable"]]
        found = FeatureShard(
            said["settings"],
            said["part"],
            table["item"].to_pylist(),
            features,
            unreadable,
            table["class"].to_pylist() if "class" in table.column_names else None,
        )
        if found.digest() != said["sha256"]:
            raise sealed.damaged(path, then)
    except sealed.Damaged:
        raise
    except (UserError, pa.ArrowException, ValueError, KeyError, TypeError, OverflowError):
        raise sealed.damaged(path, then) from None
    return found


def _array(column: Any, width: int) -> Half:
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float16).reshape(-1, width)


def is_table(folder: Path) -> bool:
    """Whether a folder is a feature table."""
    return index_file(folder).is_file()


def refuse_lost_index(folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder with shards of features and without the index that says what belongs to them.

    Args:
        names: some in the folder.

    Raises:
        UserError: it is one.
    """
    shard = next((name for name in names if name.endswith(".parquet")), None)
    if shard is None:
        return
    try:
        known = read_schema(folder / shard).metadata or {}
    except UserError:
        return
    if KEY in known:
        raise UserError(
            f"{folder} holds shards of features and its {INDEX} is missing: copy that back, or make the "
            "table again with reteach embed and another --out"
        )


def index_file(folder: Path) -> Path:
    """Where the index of a feature table is, or would be."""
    old = folder / OLD_INDEX
    return old if old.is_file() and not (folder / INDEX).is_file() else folder / INDEX


def read_index(folder: Path) -> dict[str, Any]:
    """The index: format, settings, complete, shards -> digest.

    Raises:
        UserError: missing, damaged, or of another format.
    """
    file = index_file(folder)
    try:
        found = sealed.read_json(file, "run the same reteach embed again", old=False)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    if found.get("format") != FORMAT:
        raise UserError(
            f"{folder} is of format {found.get('format')}, and this version reads {FORMAT}"
        )
    return found


@final
@dataclass(frozen=True, eq=False)
class FeatureTable:
    """A whole feature table, in memory.

    Args:
        settings: how the features were made.
        items: N item ids.
        features: (N, V, D).
        class_of: N class names, where the images carry labels.
    """

    settings: dict[str, Any]
    items: Sequence[str]
    features: Half
    class_of: Sequence[str] | None = None


def read_table(folder: Path) -> FeatureTable:
    """All shards of a finished table, held against their digests.

    Raises:
        UserError: unfinished, damaged, shards that are missing, too many, or of other features.
    """
    items: list[str] = []
    parts: list[Half] = []
    classes: list[str] = []
    settings: dict[str, Any] = {}
    for shard in read_shards(folder):
        items += shard.items
        parts.append(shard.features)
        classes += shard.class_of or []
        settings = shard.settings
    class_of = classes if classes and len(classes) == len(items) else None
    return FeatureTable(settings, items, np.concatenate(parts), class_of)


def read_shards(folder: Path) -> Iterator[FeatureShard]:
    """The shards of a finished table one by one, held against their digests.

    Raises:
        UserError: as :func:`read_table`.
    """
    index = read_index(folder)
    if not index["complete"]:
        raise UserError(f"{folder} is not finished: run the same reteach embed again")
    there = {file.stem for file in folder.glob("*.parquet")}
    for name in sorted(there ^ index["shards"].keys()):
        what = "a shard of another table" if name in there else "missing"
        raise UserError(f"{folder / name}.parquet is {what}: run the same reteach embed again")
    for name, digest in index["shards"].items():
        shard = read_shard(folder / f"{name}.parquet")
        if shard.settings != index["settings"]:
            key = first_difference(shard.settings, index["settings"])
            raise UserError(
                f"{folder / name}.parquet holds other features than {INDEX} says ({key}): delete it and "
                "run the same reteach embed again"
            )
        if shard.digest() != digest:
            raise UserError(
                f"{folder / name}.parquet is of other images: delete it and run the same reteach embed again"
            )
        yield shard


def first_difference(there: dict[str, Any], now: dict[str, Any]) -> str:
    """The first setting in which two makings differ, in words."""
    for key in now:
        if there.get(key) != now[key]:
            return f"{key}: {there.get(key)} there, {now[key]} now"
    return ""
