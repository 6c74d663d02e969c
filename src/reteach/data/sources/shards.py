"""WebDataset tar shards, read at random through an index of their headers; nothing is unpacked.

A sample is a run of neighbouring members that share their name up to the first dot:
``000017.jpg`` (the image), ``000017.cls`` (a class index or name), ``000017.json`` (whose ``label`` is
the class when there is no ``.cls``). Shards without any image may hold videos (``000017.mp4``) in its place.
The package ``webdataset`` is not needed.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...item_index import first_repeated
from ...processes import WorkerFailure, cores, each
from ...progress import progress
from ...storage import Vanished, address
from ...storage import shards as at_store
from ...text_column import TextColumn
from ..item_ids import item_id
from ..loading.decode import EXTENSIONS, ImageError, decode
from .folders import why_not
from .shard_index import Indexer, ShardIndex, ShardPart, load_index
from .videos import ENDINGS, SHORT_SIDE, decode_video, need_av

if TYPE_CHECKING:
    import pyarrow as pa

_MANY = 1_000_000
_FEW = 8
"""Fewer shards than this are indexed right here, without a word."""
_PATIENCE = 3600.0
"""Seconds after which a shard is given up: large ones on slow disks take minutes."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class ShardSource:
    """Images or videos in tar files; an item is ``shard/key``: the file's name without ending, the
    sample's key.

    It is so for one tar as for many, so that an image has one name in all lists and tables, whichever
    shards were opened with its own.

    Args:
        shards: paths of the S tar files.
        starts: (S + 1,) the images of shard s are the rows from ``starts[s]`` to ``starts[s + 1]``.
        offsets, sizes: (N,) where the bytes of each image are.
        labels: N classes as they stand in the shards, a dictionary array with nulls; None: none.
        damaged: (path, reason) of the shards that could not be read, or not to their end.
        others: (shard/member, reason) of the samples without a member that is an image to us.
        at_least: see :func:`reteach.data.loading.decode.decode`; the shorter side of larger frames of videos
            is reduced to this.
        is_video: whether they are videos.
        held: bytes of some images, which are not asked for again.
    """

    shards: Sequence[str]
    items: Sequence[str]
    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.uint32]
    labels: pa.DictionaryArray | None = None
    damaged: Sequence[tuple[str, str]] = ()
    others: Sequence[tuple[str, str]] = ()
    at_least: int | None = None
    is_video: bool = False
    held: Mapping[int, bytes] | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    @cached_property
    def class_of(self) -> Sequence[str] | None:
        """The class names, if there are any."""
        if self.labels is None or self.labels.null_count == len(self):
            return None
        if missing := self.labels.null_count:
            first = self.labels.is_null().index(True).as_py()
            raise UserError(
                f"{missing} of {len(self)} samples have no .cls, first: {self.items[first]!r}; "
                "give their labels in a label table"
            )
        return TextColumn(self.labels)

    @property
    def lost(self) -> list[tuple[str, str]]:
        """(name, reason) of the shards and samples that cannot be used, whatever is in them."""
        return [*self.damaged, *self.others]

    @property
    def place(self) -> str:
        """Where the images are, for caches."""
        return "\n".join(map(_whole_path, self.shards))

    def shard(self, row: int) -> str:
        """The path of the tar that holds an image."""
        return self.shards[int(np.searchsorted(self.starts, row, side="right")) - 1]

    def content(self, row: int) -> bytes:
        """The image as it is stored.

        Raises:
            OSError: the shard cannot be read.
            ImageError: it has become shorter, or has vanished from its store.
            UserError: the store cannot be reached.
        """
        if self.held is not None and row in self.held:
            return self.held[row]
        size = int(self.sizes[row])
        if (where := address(self.shard(row))) is not None:
            try:
                return at_store.piece(where, int(self.offsets[row]), size)
            except Vanished as error:
                raise ImageError(f"shard {error}") from None
        with open(self.shard(row), "rb", buffering=0) as file:
            data = os.pread(file.fileno(), size, int(self.offsets[row]))
        if len(data) < size:
            raise ImageError("truncated shard")
        return data

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, of a video (T, H, W, 3); raises ImageError."""
        try:
            data = self.content(row)
        except OSError as error:
            shard = item_id(self.shard(row))
            raise ImageError(f"shard {shard}: {os.strerror(error.errno or 0)}") from None
        if self.is_video:
            return decode_video(
                data, at_least=SHORT_SIDE if self.at_least is None else self.at_least
            )
        return decode(data, at_least=self.at_least)

    def shrunk(self, at_least: int) -> ShardSource:
        """The same images, perhaps smaller, but not below ``at_least`` on the shorter side."""
        return replace(self, at_least=at_least)

    def gathered(self, rows: NDArray[np.int64]) -> ShardSource:
        """The same, with the bytes of some images read together where they are neighbours at a store.

        Raises:
            UserError: the store cannot be reached.
        """
        by_shard: dict[str, list[int]] = {}
        for row in np.unique(rows).tolist():
            by_shard.setdefault(self.shard(row), []).append(row)
        held: dict[int, bytes] = {}
        for shard, own in by_shard.items():
            where = address(shard)
            if where is None or len(own) < 2:
                continue
            starts = self.offsets[own].tolist()
            with suppress(Vanished):  # each image says so
                found = at_store.gathered(where, starts, self.sizes[own].tolist())
                held |= {row: found[at] for row, at in zip(own, starts, strict=True) if at in found}
        return replace(self, held=held) if held else self

    def alone(self, rows: NDArray[np.int64], at_least: int | None) -> ShardSource:
        """What it takes to read some images, and no more: for other processes. It has no items."""
        return ShardSource(
            [self.shard(row) for row in rows.tolist()],
            (),
            np.arange(len(rows) + 1),
            self.offsets[rows],
            self.sizes[rows],
            at_least=at_least,
            is_video=self.is_video,
        )

    def stamp(self, row: int) -> str:
        """Changes when the shard does."""
        stamp = _stamp(self.shard(row))
        return stamp and f"{stamp}:{self.offsets[row]}:{self.sizes[row]}"


def is_shards(where: str) -> bool:
    """Whether this looks like tar shards: ``name.tar``, with ``{000..009}``, ``*`` or ``?`` in it."""
    return where.lower().endswith((".tar", ".tar}"))


def open_shards(where: str, cache: Path | None = None, videos: bool | None = None) -> ShardSource:
    """The images in the tar files that a pattern names; where there are only videos, those.

    A shard that cannot be read is named in ``lost``; so is a truncated one, whose first part is used, and a
    sample without an image, unless it holds nothing but texts, tables and the like.

    Args:
        cache: folder in which the index is kept; later only shards that changed are scanned again.
        videos: whether videos are wanted; None: what is there.

    Raises:
        UserError: no such shards, none of them readable, no images, or the same key twice.
    """
    shards = expand(where)
    if not shards:
        raise UserError(f"no tar shards match {where}")
    at_store.look(shards)
    found = _opened(shards, cache, bool(videos))
    if not len(found) and videos is None and _has_videos(found):
        found = _opened(shards, cache, videos=True)
    if not len(found):
        first, ending = found.lost[:1], ".mp4, .mkv" if found.is_video else ".jpg, .png"
        if found.damaged and len(shards) == 1:
            reason = found.damaged[0][1].removeprefix("shard: ")
            raise UserError(reason if where in reason else f"{where} cannot be read: {reason}")
        why = f"; {first[0][0]}: {first[0][1]}" if first else f": no member ends in {ending} …"
        what = "videos" if found.is_video else "images"
        raise UserError(f"no {what} in the {len(shards)} shards of {where}{why}")
    return found


def _has_videos(found: ShardSource) -> bool:
    return any(name.lower().endswith(ENDINGS) for name, _ in found.others)


def _opened(shards: list[str], cache: Path | None, videos: bool) -> ShardSource:
    """What of one kind is in the shards, perhaps nothing."""
    if videos:
        need_av()
    name = f"shards-{_digest(shards)}{'-videos' if videos else ''}.arrow"
    index = _indexed(shards, None if cache is None else cache / name, videos)
    reasons = zip(shards, index.reasons, strict=True)
    damaged = [(item_id(shard), f"shard: {reason}") for shard, reason in reasons if reason]
    others = [
        (f"{item_id(Path(shard).stem)}/{name}", why_not(name, "a video" if videos else "an image"))
        for shard, names in zip(shards, index.others, strict=True)
        for name in names
    ]
    columns = index.columns
    return ShardSource(
        shards,
        TextColumn(columns["item"]),
        index.starts,
        columns["offset"].to_numpy(),
        columns["size"].to_numpy(),
        columns["label"],
        damaged,
        others,
        is_video=videos,
    )


def _indexed(shards: list[str], file: Path | None, videos: bool) -> ShardIndex:
    """The index of all shards; of those that have not changed since, out of ``file``."""
    keys = [f"{item_id(shard)}\n{_stamp(shard)}" for shard in shards]
    known = None if file is None else load_index(file)
    if known is not None and list(known.keys) == keys:
        return known
    parts = {} if known is None else known.parts()
    todo = [number for number, key in enumerate(keys) if key not in parts]
    read = Indexer(shards, ENDINGS if videos else EXTENSIONS)
    with progress("indexing shards", len(todo), quiet=len(todo) < _FEW) as on_progress:
        crew = 0 if len(todo) < _FEW else cores()
        for done, (number, found) in enumerate(each(read, todo, crew, _PATIENCE), 1):
            if isinstance(found, WorkerFailure):
                found = ShardPart.empty(found.reason)
            parts[keys[number]] = found
            on_progress(done)
    index = ShardIndex.of(keys, [parts[key] for key in keys])
    _refuse_repeated(shards, index, [parts[key] for key in keys])
    if file is None or any(index.reasons):  # what is wrong today may be mended tomorrow
        return index
    index.save(file)
    return load_index(file) or index  # mapped: several processes share it


def _refuse_repeated(shards: list[str], index: ShardIndex, parts: list[ShardPart]) -> None:
    """Refuse an item that occurs twice: within a shard, or in two shards of one name."""
    twice = next((part.twice for part in parts if part.twice is not None), None)
    if twice is None and first_repeated(Path(shard).stem for shard in shards) is not None:
        twice = first_repeated(TextColumn(index.columns["item"]))
    if twice is None:
        return
    rows = np.flatnonzero([item == twice for item in TextColumn(index.columns["item"])])
    shard = shards[int(np.searchsorted(index.starts, rows[1], side="right")) - 1]
    raise UserError(
        f"shard {item_id(shard)}: the item {twice!r} occurs twice; give every sample of a "
        "shard its own key, and every shard its own name"
    )


def expand(where: str) -> list[str]:
    """Shell braces (``{000..009}``, ``{a,b}``) and wildcards -> paths, in order."""
    if os.path.exists(where):
        return [where]
    out: list[str] = []
    find = glob.glob if address(where) is None else at_store.matching
    for path in _braces(where):
        out += sorted(find(path)) if re.search(r"[*?]|\[.*\]", path) else [path]
    return out


def _braces(text: str) -> list[str]:
    match = re.search(r"\{([^{}]*)\}", text)
    if match is None:
        return [text]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if numbers is not None:
        first, last = int(numbers[1]), int(numbers[2])
        if abs(last - first) >= _MANY:
            raise UserError(f"{text}: more than {_MANY:,} shards")
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        step = 1 if last >= first else -1
        choices = [f"{i:0{width}d}" for i in range(first, last + step, step)]
    else:
        choices = match[1].split(",")
    before, after = text[: match.start()], text[match.end() :]
    return [path for choice in choices for path in _braces(before + choice + after)]


def _whole_path(shard: str) -> str:
    return shard if address(shard) is not None else os.path.abspath(shard)


def _stamp(path: str) -> str:
    if (where := address(path)) is not None:
        return at_store.stamp(where)
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _digest(shards: Sequence[str]) -> str:
    names = "\n".join(item_id(_whole_path(shard)) for shard in shards)
    return hashlib.blake2b(names.encode(), digest_size=8).hexdigest()
