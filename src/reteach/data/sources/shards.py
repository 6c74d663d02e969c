"""WebDataset tar shards, read at random through an index of their headers; nothing is unpacked.

A sample is a run of neighbouring members that share their name up to the first dot:
``000017.jpg`` (the image), ``000017.cls`` (a class index or name), ``000017.json`` (whose ``label`` is
the class when there is no ``.cls``). The package ``webdataset`` is not needed.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from ... import sealed
from ...errors import UserError
from ...item_index import first_repeated
from ...processes import WorkerFailure, cores, each
from ...progress import progress
from ...structured import parse_json
from ..item_ids import item_id
from ..loading.decode import EXTENSIONS, ImageError, decode
from .folders import COMPANIONS, why_not
from .tars import Member, samples, scan

_LABEL_BYTES = 1 << 16
_MANY = 1_000_000
_FEW = 8
"""Fewer shards than this are indexed right here, without a word."""
_PATIENCE = 3600.0
"""Seconds after which a shard is given up: large ones on slow disks take minutes."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class ShardSource:
    """Images inside tar files; an item is ``shard/key``: the file's name without ending, the sample's key.

    It is so for one tar as for many, so that an image has one name in all lists and tables, whichever
    shards were opened with its own.

    Args:
        shards: paths of the tar files.
        shard_of, offsets, sizes: (N,) where the bytes of each image are.
        labels: (N,) the class of each image as it stands in its shard, or None.
        damaged: (path, reason) of the shards that could not be read, or not to their end.
        others: (shard/member, reason) of the samples without a member that is an image to us.
    """

    shards: Sequence[str]
    items: Sequence[str]
    shard_of: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: Sequence[str | None]
    damaged: Sequence[tuple[str, str]] = ()
    others: Sequence[tuple[str, str]] = ()
    at_least: int | None = None

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def class_of(self) -> Sequence[str] | None:
        """The class names, if there are any."""
        names = [name for name in self.labels if name is not None]
        if names and len(names) < len(self):
            item = next(i for i, name in zip(self.items, self.labels, strict=True) if name is None)
            raise UserError(
                f"{len(self) - len(names)} of {len(self)} samples have no .cls, first: {item!r}; "
                "give their labels in a label table"
            )
        return names or None

    @property
    def lost(self) -> list[tuple[str, str]]:
        """(name, reason) of the shards and samples that cannot be used, whatever is in them."""
        return [*self.damaged, *self.others]

    @property
    def place(self) -> str:
        """Where the images are, for caches."""
        return "\n".join(os.path.abspath(shard) for shard in self.shards)

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8; raises ImageError."""
        size = int(self.sizes[row])
        shard = self.shards[int(self.shard_of[row])]
        try:
            with open(shard, "rb", buffering=0) as file:
                data = os.pread(file.fileno(), size, int(self.offsets[row]))
        except OSError as error:
            raise ImageError(f"shard {item_id(shard)}: {os.strerror(error.errno or 0)}") from None
        if len(data) < size:
            raise ImageError("truncated shard")
        return decode(data, at_least=self.at_least)

    def shrunk(self, at_least: int) -> ShardSource:
        """The same images, perhaps smaller, but not below ``at_least`` on the shorter side."""
        return replace(self, at_least=at_least)

    def stamp(self, row: int) -> str:
        """Changes when the shard does."""
        stamp = _stamp(self.shards[int(self.shard_of[row])])
        return stamp and f"{stamp}:{self.offsets[row]}:{self.sizes[row]}"


@final
@dataclass(frozen=True, slots=True)
class _Entry:
    """One image of a shard's index."""

    key: str
    offset: int
    size: int
    label: str | None


@final
@dataclass(frozen=True, slots=True)
class _Index:
    """What one shard holds, and why that is not all (empty: it is)."""

    entries: list[_Entry]
    reason: str
    others: list[str]
    """A member of each sample that has no image."""


def is_shards(where: str) -> bool:
    """Whether this looks like tar shards: ``name.tar``, with ``{000..009}``, ``*`` or ``?`` in it."""
    return where.lower().endswith((".tar", ".tar}"))


def open_shards(where: str, cache: Path | None = None) -> ShardSource:
    """The images in the tar files that a pattern names.

    A shard that cannot be read is named in ``lost``; so is a truncated one, whose first part is used, and a
    sample without an image, unless it holds nothing but texts, tables and the like.

    Args:
        cache: folder in which the index is kept; later only shards that changed are scanned again.

    Raises:
        UserError: no such shards, none of them readable, no images, or the same key twice.
    """
    shards = expand(where)
    if not shards:
        raise UserError(f"no tar shards match {where}")
    file = None if cache is None else cache / f"shards-{_digest(shards)}.json"
    known = _load(file)
    keys = [f"{item_id(shard)}\n{_stamp(shard)}" for shard in shards]
    fresh = {key: known[key] for key in keys if key in known}
    todo = [number for number, key in enumerate(keys) if key not in fresh]
    with progress("indexing shards", len(todo), quiet=len(todo) < _FEW) as on_progress:
        crew = 0 if len(todo) < _FEW else cores()
        for done, (number, found) in enumerate(each(_Indexer(shards), todo, crew, _PATIENCE), 1):
            fresh[keys[number]] = (
                _Index([], found.reason, []) if isinstance(found, WorkerFailure) else found
            )
            on_progress(done)
    if file is not None and todo:
        _save(file, fresh)
    indices = [fresh[key] for key in keys]
    damaged = [
        (item_id(s), f"shard: {i.reason}") for s, i in zip(shards, indices, strict=True) if i.reason
    ]
    others = [
        (f"{item_id(Path(s).stem)}/{name}", why_not(name, "an image"))
        for s, i in zip(shards, indices, strict=True)
        for name in i.others
    ]
    entries = [entry for index in indices for entry in index.entries]
    if not entries:
        first = [*damaged, *others][:1]
        why = f"; {first[0][0]}: {first[0][1]}" if first else ": no member ends in .jpg, .png …"
        raise UserError(f"no images in the {len(shards)} shards of {where}{why}")
    shard_of = np.repeat(np.arange(len(shards)), [len(index.entries) for index in indices])
    return ShardSource(
        shards,
        _items(entries, shard_of, shards),
        shard_of,
        np.array([entry.offset for entry in entries], np.int64),
        np.array([entry.size for entry in entries], np.int64),
        [entry.label for entry in entries],
        damaged,
        others,
    )


def expand(where: str) -> list[str]:
    """Shell braces (``{000..009}``, ``{a,b}``) and wildcards -> paths, in order."""
    if os.path.exists(where):
        return [where]
    out: list[str] = []
    for path in _braces(where):
        out += sorted(glob.glob(path)) if re.search(r"[*?]|\[.*\]", path) else [path]
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


@final
@dataclass(frozen=True, slots=True)
class _Indexer:
    """Number of a shard -> its index; for worker processes."""

    shards: list[str]

    def __call__(self, number: int) -> _Index:
        return _index(self.shards[number])


def _index(shard: str) -> _Index:
    members, reason = scan(shard)
    entries = []
    others = []
    if members:
        with open(shard, "rb") as file:
            for sample in samples(members):
                images = [m for ext, m in sample.parts.items() if f".{ext}" in EXTENSIONS]
                if images:
                    label = _label(file.fileno(), sample.parts)
                    entries.append(_Entry(sample.key, images[0].offset, images[0].size, label))
                else:
                    others += _strangers(sample.parts)[:1]
    return _Index(entries, reason, others)


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
    except (ValueError, AttributeError):
        return None
    return str(label) if isinstance(label, str | int) else None


def _items(
    entries: Sequence[_Entry], shard_of: NDArray[np.int64], shards: Sequence[str]
) -> list[str]:
    stems = [item_id(Path(shard).stem) for shard in shards]
    items = [f"{stems[s]}/{e.key}" for s, e in zip(shard_of.tolist(), entries, strict=True)]
    if (twice := first_repeated(items)) is not None:
        again = [s for s, item in zip(shard_of.tolist(), items, strict=True) if item == twice][1]
        raise UserError(
            f"shard {item_id(shards[again])}: the item {twice!r} occurs twice; give every sample of a "
            "shard its own key, and every shard its own name"
        )
    return items


def _stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _digest(shards: Sequence[str]) -> str:
    names = "\n".join(item_id(os.path.abspath(shard)) for shard in shards)
    return hashlib.blake2b(names.encode(), digest_size=8).hexdigest()


def _load(file: Path | None) -> dict[str, _Index]:
    """The index of an earlier time; a damaged file is as good as none: the shards are scanned again."""
    try:
        saved = {} if file is None else sealed.read_json(file, "delete it", old=False)
        return {
            key: _Index([_Entry(*entry) for entry in found["images"]], "", found["others"])
            for key, found in saved.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, sealed.Damaged):
        return {}


def _save(file: Path, indices: dict[str, _Index]) -> None:
    content = {
        key: {
            "images": [(e.key, e.offset, e.size, e.label) for e in index.entries],
            "others": index.others,
        }
        for key, index in indices.items()
        if not index.reason  # what is wrong today may be mended tomorrow
    }
    sealed.write_json(file, content, indent=None)
