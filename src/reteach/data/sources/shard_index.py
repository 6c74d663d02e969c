"""What is where in many tar files: one Arrow table, kept in a file that processes share.

An image takes 24 bytes beside its name: 8 each for its place and for that of its name, 4 each for its size
and its label (and a bit, where some have no label). What is kept of shards that have not changed since is
used again.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...errors import UserError
from ...files import atomic_path, atomic_write, plain_json
from ...item_index import first_repeated
from ...storage import address
from ...storage.shards import fetched
from ...structured import parse_json
from ..item_ids import item_id
from ..loading.decode import EXTENSIONS
from .folders import COMPANIONS
from .tars import Member, samples, scan

SCHEMA = pa.schema(
    [
        ("item", pa.large_string()),
        ("offset", pa.int64()),
        ("size", pa.uint32()),
        ("label", pa.dictionary(pa.int32(), pa.string())),
    ]
)
_ABOUT, _CRC = b"reteach.shards", b"reteach.crc32"
_LABEL_BYTES = 1 << 16
_CODES = 1 << 16
"""Codes of labels that are looked at together."""
_LARGEST = 2**32 - 1
_RACY = 2.0
"""Seconds after a change in which another one might leave the same time: nothing is noted of such a file."""


@final
@dataclass(frozen=True, eq=False)
class ShardPart:
    """What one shard holds.

    Args:
        table: of :data:`SCHEMA`.
        reason: why that is not all; empty: it is.
        others: a member of each sample that has no image (or no video, where those are asked for).
        twice: an item that occurs twice.
    """

    table: pa.Table
    reason: str = ""
    others: Sequence[str] = ()
    twice: str | None = None

    @classmethod
    def empty(cls, reason: str) -> ShardPart:
        """A shard of which nothing is known."""
        return cls(SCHEMA.empty_table(), reason)


@final
@dataclass(frozen=True, eq=False)
class ShardIndex:
    """What S shards hold, one after the other.

    Args:
        keys: of each shard, path and stamp.
        starts: (S + 1,) the rows where they begin, and N.
        reasons, others: as :class:`ShardPart` has them.
        columns: N entries each, by the names of :data:`SCHEMA`.
    """

    keys: Sequence[str]
    starts: NDArray[np.int64]
    reasons: Sequence[str]
    others: Sequence[Sequence[str]]
    columns: dict[str, pa.Array] = field(repr=False)

    @classmethod
    def of(cls, keys: Sequence[str], parts: Sequence[ShardPart]) -> ShardIndex:
        """The parts, one after the other."""
        table = pa.concat_tables([part.table for part in parts]).unify_dictionaries()
        columns = {name: _joined(table[name]) for name in SCHEMA.names}
        starts = np.cumsum([0, *(len(part.table) for part in parts)])
        return cls(
            keys, starts, [part.reason for part in parts], [part.others for part in parts], columns
        )

    def __len__(self) -> int:
        return int(self.starts[-1])

    def parts(self) -> dict[str, ShardPart]:
        """Key of a shard -> what it holds."""
        table = pa.table(self.columns, schema=SCHEMA)
        spans = zip(self.keys, pairwise(self.starts.tolist()), self.others, strict=True)
        return {key: ShardPart(table.slice(a, b - a), "", rest) for key, (a, b), rest in spans}

    def save(self, file: Path) -> None:
        """Keep an index without reasons, whole or not at all."""
        about = plain_json(
            {
                "keys": list(self.keys),
                "starts": self.starts.tolist(),
                "others": [list(names) for names in self.others],
            },
            indent=None,
        ).encode()
        batch = pa.RecordBatch.from_pydict(self.columns, schema=SCHEMA)
        meta = {_ABOUT: about, _CRC: str(_crc(about, self.columns)).encode()}
        with (
            atomic_path(file) as part,
            pa.OSFile(str(part), "wb") as out,
            pa.ipc.new_file(out, SCHEMA.with_metadata(meta)) as writer,
        ):
            writer.write_batch(batch)


def load_index(file: Path) -> ShardIndex | None:
    """An index that was kept, its columns mapped into memory; None: there is none, or it is damaged."""
    try:
        with pa.memory_map(str(file)) as content:
            reader = pa.ipc.open_file(content)
            meta = reader.schema.metadata or {}
            if reader.schema.remove_metadata() != SCHEMA or reader.num_record_batches != 1:
                return None
            batch = reader.get_batch(0)
        batch.validate()
        columns = {name: batch.column(name) for name in SCHEMA.names}
        if not _checked(file) and not _sound(file, meta, columns):
            return None
        about = parse_json(meta[_ABOUT])
        keys, starts = about["keys"], np.array(about["starts"], np.int64)
        return ShardIndex(keys, starts, [""] * len(keys), about["others"], columns)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _sound(file: Path, meta: Mapping[bytes, bytes], columns: dict[str, pa.Array]) -> bool:
    """Whether the content is what was written; that it is, is kept beside the file."""
    before = _stamp(file)
    if str(_crc(meta[_ABOUT], columns)).encode() != meta[_CRC]:
        return False
    if time.time() - file.stat().st_ctime > _RACY and before == _stamp(file):
        with suppress(
            OSError, UserError
        ):  # of a cache that cannot be written to, all is read each time
            atomic_write(_seal(file), before)
    return True


def _checked(file: Path) -> bool:
    """Whether this very file was read whole before and found sound: then only what is used is read.

    The time of the last change of an inode cannot be set back, so that whatever writes to the file is seen.
    """
    try:
        return _seal(file).read_text(encoding="utf-8") == _stamp(file)
    except (OSError, UnicodeDecodeError):
        return False


def _seal(file: Path) -> Path:
    return file.with_suffix(".checked")


def _stamp(file: Path) -> str:
    found = file.stat()
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


@final
@dataclass(frozen=True, slots=True)
class Indexer:
    """Number of a shard -> what it holds; for worker processes."""

    shards: Sequence[str]
    endings: tuple[str, ...] = EXTENSIONS

    def __call__(self, number: int) -> ShardPart:
        return index_shard(self.shards[number], self.endings)


def index_shard(shard: str, endings: tuple[str, ...] = EXTENSIONS) -> ShardPart:
    """The members of one shard with such endings; damage is said in it."""
    stem = item_id(Path(shard).stem)
    if (where := address(shard)) is not None:
        try:
            shard = str(fetched(where))
        except UserError as error:
            return ShardPart.empty(str(error))
    members, reason = scan(shard)
    found: list[tuple[str, int, int, str | None]] = []
    others: list[str] = []
    if members:
        with open(shard, "rb") as file:
            for sample in samples(members):
                images = [m for ext, m in sample.parts.items() if f".{ext}" in endings]
                if images and images[0].size <= _LARGEST:
                    label = _label(file.fileno(), sample.parts)
                    found.append((f"{stem}/{sample.key}", images[0].offset, images[0].size, label))
                else:
                    others += _strangers(sample.parts)[:1]
    columns = list(zip(*found, strict=True)) or [()] * 4
    arrays = [
        pa.array(values, kind)
        for values, kind in zip(
            columns, (pa.large_string(), pa.int64(), pa.uint32(), pa.string()), strict=True
        )
    ]
    arrays[3] = arrays[3].dictionary_encode()
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    return ShardPart(table, reason, others, first_repeated(columns[0]))


def _strangers(parts: dict[str, Member]) -> list[str]:
    """The members of a sample without an image by which it may have been meant as one; its label last."""
    names = [m.name for ext, m in parts.items() if not f".{ext}".endswith(COMPANIONS)]
    return sorted(names, key=lambda name: name.lower().endswith(".cls"))


def _label(fd: int, parts: dict[str, Member]) -> str | None:
    member = parts.get("cls") or parts.get("json")
    if member is None or member.size > _LABEL_BYTES:
        return None
    text = os.pread(fd, member.size, member.offset).decode("utf-8", "backslashreplace").strip()
    if "cls" in parts:
        return text or None
    try:
        label = parse_json(text).get("label")
    except (ValueError, AttributeError, UserError):
        return None
    return str(label) if isinstance(label, str | int) else None


def _joined(column: pa.ChunkedArray) -> pa.Array:
    """One array, from its beginning."""
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else joined.chunk(0)


def _crc(about: bytes, columns: dict[str, pa.Array]) -> int:
    """A checksum of the content, without what Arrow pads it with."""
    label = columns["label"]
    codes = (  # a copy, so not of all
        label.indices.slice(start, _CODES).fill_null(-1) for start in range(0, len(label), _CODES)
    )
    first = (columns[name] for name in ("item", "offset", "size"))
    found = zlib.crc32(about)
    for array in chain(first, codes, [label.dictionary]):
        for buffer in _content(array):
            found = zlib.crc32(buffer, found)
    return found


def _content(array: pa.Array) -> list[memoryview]:
    """The numbers, or where each text ends and all letters."""
    if pa.types.is_large_string(array.type) or pa.types.is_string(array.type):
        wide = array.cast(pa.large_string())
        _, ends, letters = wide.buffers()
        places = (
            np.frombuffer(ends, np.int64, len(array) + 1) if len(array) else np.zeros(1, np.int64)
        )
        return [
            memoryview(places.data).cast("B"),
            memoryview(letters or b"")[: int(places[-1])],
        ]
    return [memoryview(np.ascontiguousarray(array.to_numpy(zero_copy_only=False)).data).cast("B")]
