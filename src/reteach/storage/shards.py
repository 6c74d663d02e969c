"""Tar shards at a store: whole copies in a bounded part of the scratch folder, else byte ranges.

A shard is indexed, and scored, from a copy: one request instead of one for each image. A copy that had to
make room for others is not fetched again; its images are then read by their ranges.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import UserError
from . import objects, view
from .address import Address, address
from .objects import ObjectInfo

ROOM = "RETEACH_SCRATCH_GB"
"""The environment variable that says how much copies of shards may take."""
_USUAL_GB = 20.0
_GAP = 1 << 16
"""Bytes between two pieces that are read along rather than asked for apart: a request costs more."""
_HELD = 1 << 26
"""Bytes that are held at most: of larger pictures, a request each is little."""

_SEEN: dict[Address, ObjectInfo] = {}
"""What the store said of shards when they were opened."""


def look(shards: Sequence[str]) -> None:
    """Ask the store anew about shards: one listing for each folder, not one request for each shard."""
    wheres = [where for shard in shards if (where := address(shard)) is not None]
    folders = {Address(where.scheme, where.path.rpartition("/")[0]) for where in wheres}
    _SEEN.clear()
    for folder in sorted(folders):
        for name, found in objects.listing(folder).items():
            _SEEN[folder / name] = found


def stamp(where: Address) -> str:
    """What changes when a shard does; empty: there is none."""
    found = _info(where)
    return "" if found is None else f"{found.size}:{found.tag}"


def size(where: Address) -> int:
    """Bytes of a shard; 0: there is none."""
    found = _info(where)
    return 0 if found is None else found.size


def fetched(where: Address) -> Path:
    """The copy of a shard, made now if there is none; those that nobody asks for make room first.

    Raises:
        UserError: there is no such shard, or the store cannot be reached.
    """
    found = _info(where)
    if found is None:
        raise objects.missing(where)
    path = _copy(where, found)
    try:
        os.utime(path)  # as if it were made now: others make room first
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent, found.size)
        objects.get(where, path, found)
    return path


def piece(where: Address, start: int, count: int) -> bytes:
    """Bytes of a shard, of its copy if there is one.

    Raises:
        Vanished: the shard is gone.
        UserError: the store cannot be reached.
    """
    found = _still_there(where)
    with suppress(FileNotFoundError), open(_copy(where, found), "rb", buffering=0) as file:
        return os.pread(file.fileno(), count, start)
    return objects.read(where, start, count)


def gathered(where: Address, starts: Sequence[int], sizes: Sequence[int]) -> dict[int, bytes]:
    """Pieces of a shard that has no copy, by where they start: neighbours come with one request.

    Pieces that have no neighbour are left out, and so is what is too much to be held.

    Raises:
        Vanished: the shard is gone.
        UserError: the store cannot be reached.
    """
    found = _still_there(where)
    if _copy(where, found).exists():
        return {}
    held: dict[int, bytes] = {}
    for first, last, inside in _runs(sorted(zip(starts, sizes, strict=True))):
        data = objects.read(where, first, last - first)
        held |= {start: data[start - first : start - first + size] for start, size in inside}
    return held


def _still_there(where: Address) -> ObjectInfo:
    found = _info(where)
    if found is None:
        raise objects.Vanished(f"{where} has vanished")
    return found


def _runs(pieces: list[tuple[int, int]]) -> list[tuple[int, int, list[tuple[int, int]]]]:
    """Neighbouring pieces (start, size), in order, as (first byte, byte after the last, pieces)."""
    runs: list[tuple[int, int, list[tuple[int, int]]]] = []
    room = _HELD
    for start, size in pieces:
        if size > room:
            break
        if runs and start - runs[-1][1] <= _GAP:
            first, _, inside = runs[-1]
            runs[-1] = (first, start + size, [*inside, (start, size)])
        else:
            runs.append((start, start + size, [(start, size)]))
        room -= size
    return [run for run in runs if len(run[2]) > 1]


def matching(pattern: str) -> list[str]:
    """The objects that a pattern with wildcards names, sorted."""
    where = address(pattern)
    assert where is not None
    parts = where.path.split("/")
    first = next(i for i, part in enumerate(parts) if re.search(r"[*?\[]", part))
    if first == 0:
        raise UserError(f"{where}: name the bucket without wildcards")
    folder, rest = Address(where.scheme, "/".join(parts[:first])), parts[first:]
    names = (name for name in objects.listing(folder) if _fits(name.split("/"), rest))
    return [str(folder / name) for name in names]


def _fits(name: list[str], pattern: list[str]) -> bool:
    """Whether a name fits part by part: a wildcard crosses no slash, as in a shell."""
    return len(name) == len(pattern) and all(map(fnmatchcase, name, pattern))


def _info(where: Address) -> ObjectInfo | None:
    if where not in _SEEN and (found := objects.info(where)) is not None:
        _SEEN[where] = found
    return _SEEN.get(where)


def _copy(where: Address, found: ObjectInfo) -> Path:
    name = hashlib.blake2b(f"{where}\n{found.tag}\n{found.size}".encode(), digest_size=16)
    return view.scratch() / "shards" / f"{name.hexdigest()}.tar"


def room() -> float:
    """Bytes that copies may take.

    Raises:
        UserError: the environment variable holds no number.
    """
    try:
        return float(os.environ.get(ROOM) or _USUAL_GB) * 1e9
    except ValueError:
        raise UserError(f"{ROOM} must be a number, got {os.environ[ROOM]!r}") from None


def _make_room(folder: Path, wanted: int) -> None:
    """Remove the copies that were asked for first until there is room for one more."""
    most = room()
    copies = []
    for file in folder.glob("*.tar"):
        with suppress(OSError):
            status = file.stat()
            copies.append((status.st_mtime_ns, status.st_size, file))
    taken = sum(size for _, size, _ in copies)
    for _, of_this, file in sorted(copies):
        if taken + wanted <= most:
            return
        with suppress(OSError):
            file.unlink()
        taken -= of_this
