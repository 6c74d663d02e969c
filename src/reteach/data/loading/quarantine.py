"""Images that cannot be used: found before training, named with the reason, and left out.

Which images a run uses must not depend on luck or on worker timing, so every image is decoded once
before the first step. That costs less than it seems: large JPEGs are decoded at an eighth of their
size, which still reads all of the file, and with a cache a second run looks only at what changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, final, runtime_checkable

import numpy as np
import PIL
from numpy.typing import NDArray

from ...errors import UserError
from ...files import atomic_path
from ...parquet import read_columns
from ...processes import WorkerFailure, each
from ..sources.base import ArraySource, Source, shrunk
from ..sources.contents import DIGEST, Contents
from .decode import ImageError

T = TypeVar("T")

_RULES = f"2, Pillow {PIL.__version__}"
"""What decides whether a file can be decoded; another text than before: all are looked at again."""


@final
@dataclass(frozen=True, order=True)
class Broken:
    """An image that cannot be used. ``row`` is -1 for a whole shard, whose images have no rows."""

    row: int
    item: str
    reason: str


@runtime_checkable
class Stamped(Source, Protocol):
    """A source of files, whose changes can be seen without reading them."""

    @property
    def place(self) -> str:
        """Where the images are."""

    def stamp(self, row: int) -> str:
        """Changes when the file does; empty if there is none."""


class Team(Protocol):
    """Processes that share a task."""

    @property
    def rank(self) -> int:
        """The number of this process."""

    @property
    def world(self) -> int:
        """How many there are."""

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in rank order, in each of them."""

    def of_machine(self) -> Team:
        """Those of them that are on this machine."""

    def of_first(self, compute: Callable[[], T]) -> T:
        """What the first process computes, in each of them."""

    def agree(self, told: Mapping[str, str], mend: str) -> None:
        """Refuse what is not the same in all processes."""


@final
@dataclass(frozen=True)
class Alone:
    """This process by itself."""

    rank: int = 0
    world: int = 1

    def gather(self, value: T) -> list[T]:
        """The value itself."""
        return [value]

    def of_machine(self) -> Alone:
        """This process."""
        return self

    def of_first(self, compute: Callable[[], T]) -> T:
        """What this process computes."""
        return compute()

    def agree(self, told: Mapping[str, str], mend: str) -> None:
        """Nothing: one agrees with itself."""


ALONE = Alone()


@final
@dataclass(frozen=True, eq=False)
class Examined:
    """What a look at all images has found.

    Args:
        broken: those that cannot be used, in the order of rows.
        digests: (N, 16) uint8, a digest of each image's content; 0 where it was not looked at, or
            cannot be used.
    """

    broken: list[Broken]
    digests: NDArray[np.uint8]


def examine(
    source: Source,
    rows: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    workers: int = 2,
    on_progress: Callable[[int], object] | None = None,
    cache: Path | None = None,
    patience: float = 60.0,
    team: Team = ALONE,
) -> Examined:
    """Decode images in parallel, say which cannot be used, and keep a digest of the others.

    An image that kills the process that reads it (twice), or takes longer than ``patience`` seconds,
    is among them. Arrays are never broken.

    Args:
        rows: which images; by default all.
        workers: processes; 0 works right here, without protection against crashes.
        on_progress: told how many are done.
        cache: folder that remembers the answer for files that have not changed.
        team: processes that share the work: each looks at every so many-th image, and all learn the same.
            Machines that do not read the very same files look at all of theirs, and must find the same.

    Raises:
        UserError: an image is not the same on all machines.
    """
    lost = [Broken(-1, name, reason) for name, reason in getattr(source, "lost", ())]
    wanted = range(len(source)) if rows is None else np.unique(np.asarray(rows)).tolist()
    if team.world > 1:
        _same_names(source, team)
    everyone, apart = team, not _one_disk(source, wanted, team)
    team = team.of_machine() if apart else team
    digests = np.zeros((len(source), DIGEST), np.uint8)
    if isinstance(source, ArraySource):
        contents = Contents(source)
        for row in wanted:
            digests[row] = np.frombuffer(contents.digest(row), np.uint8)
        return Examined(lost, digests)
    memory = _Memory(source, cache) if cache is not None and isinstance(source, Stamped) else None
    mine = wanted[team.rank :: team.world]
    todo = mine if memory is None else [row for row in mine if not memory.knows(row)]
    found: list[Broken] = []
    learned: dict[str, tuple[str, bytes]] = {}
    start = len(mine) - len(todo)
    for done, (row, result) in enumerate(
        each(_Check(shrunk(source, 1)), todo, workers, patience), 1
    ):
        if isinstance(result, WorkerFailure | str):
            reason = result.reason if isinstance(result, WorkerFailure) else result
            found.append(Broken(row, source.items[row], reason))
        else:
            digests[row] = np.frombuffer(result, np.uint8)
            if memory is not None:
                learned[memory.items[row]] = memory.stamps[row], result
        if on_progress is not None:
            on_progress(min(len(wanted), team.world * (start + done)))
    if memory is not None:
        for row in sorted(set(mine) - set(todo)):
            digests[row] = memory.digest(row)
    parts = team.gather((found, digests[mine], learned))
    for number, (_, part, _) in enumerate(parts):
        digests[wanted[number :: team.world]] = part
    if memory is not None and team.rank == 0 and any(new for _, _, new in parts):
        memory.save({item: known for _, _, new in parts for item, known in new.items()})
    broken = lost + sorted(entry for part, _, _ in parts for entry in part)
    if apart:
        _same_everywhere(source, wanted, digests, everyone)
    return Examined(broken, digests)


_COPY = "every machine needs the same files: copy them once more"
_LOOKED_AT = 1000
"""Images by which it is known whether machines read the same files."""


def _same_names(source: Source, team: Team) -> None:
    """Refuse an image that is not on every machine."""
    names, size = source.items, 2**16
    blocks = [names[start : start + size] for start in range(0, len(names), size)]
    every = team.gather([_digest("\0".join(block)) for block in blocks])
    for number in range(max(map(len, every))):
        if len({tuple(other[number : number + 1]) for other in every}) == 1:
            continue
        first, *others = map(set, team.gather(list(blocks[number]) if number < len(blocks) else []))
        odd = min(next(first ^ other for other in others if first != other))
        raise UserError(f"image {odd!r} is not the same one on all machines: {_COPY}")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _one_disk(source: Source, wanted: Sequence[int], team: Team) -> bool:
    """Whether all processes read the same files: their times of change cannot be set, so copies differ."""
    if team.world == 1 or isinstance(source, ArraySource):
        return True
    if team.of_machine().world == team.world:
        return True
    stamps = [""]
    if isinstance(source, Stamped):
        some = wanted[:: max(1, len(wanted) // _LOOKED_AT)]
        stamps = [source.stamp(row) for row in some]
    every = team.gather(stamps)
    return "" not in every[0] and all(other == every[0] for other in every)


def _same_everywhere(
    source: Source, wanted: Sequence[int], digests: NDArray[np.uint8], team: Team
) -> None:
    """Refuse an image that is another one on another machine, or cannot be used on one of them alone."""
    size = 2**12
    blocks = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    told = [hashlib.blake2b(digests[block].tobytes(), digest_size=8).digest() for block in blocks]
    every = team.gather(told)
    for number, block in enumerate(blocks):
        if all(other[number] == every[0][number] for other in every):
            continue
        of_each = {f"image {source.items[row]!r}": digests[row].tobytes().hex() for row in block}
        team.agree(of_each, _COPY)


@final
@dataclass(frozen=True, eq=False)
class _Check:
    """row -> the digest of its image, or why it cannot be used."""

    source: Source

    def __call__(self, row: int) -> bytes | str:
        try:
            self.source.read(row)
            return Contents(self.source).digest(row)
        except ImageError as error:
            return str(error)


@final
class _Memory:
    """item -> stamp and digest of the files that could be decoded before, in a small Parquet file.

    What could not be used is looked at again: a permission may have been given since.
    """

    def __init__(self, source: Stamped, folder: Path) -> None:
        self.source = source
        self.items = source.items
        digest = hashlib.blake2b(source.place.encode("utf-8", "surrogateescape"), digest_size=8)
        self.file = folder / f"decoded-{digest.hexdigest()}.parquet"
        self.known = self._load()
        self.stamps: dict[int, str] = {}

    def knows(self, row: int) -> bool:
        """Whether the image was good, and its file is still the same."""
        # before the file is read: if it changes meanwhile, the next time sees it
        stamp = self.stamps[row] = self.source.stamp(row)
        return stamp != "" and self.known.get(self.items[row], ("",))[0] == stamp

    def digest(self, row: int) -> NDArray[np.uint8]:
        """The digest of the content of an image that is known."""
        return np.frombuffer(self.known[self.items[row]][1], np.uint8)

    def save(self, learned: dict[str, tuple[str, bytes]]) -> None:
        """Write everything that is known, and what was learned of good images, whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        known = self.known | learned
        stamps, digests = zip(*known.values(), strict=True) if known else ((), ())
        table = pa.table(
            {
                "item": pa.array(list(known), pa.string()),
                "stamp": pa.array(stamps, pa.string()),
                "digest": pa.array(digests, pa.binary(DIGEST)),
            }
        ).replace_schema_metadata({"reteach.decode": _RULES})
        with atomic_path(self.file) as part:
            pq.write_table(table, part, write_page_checksum=True)

    def _load(self) -> dict[str, tuple[str, bytes]]:
        try:
            table = read_columns(self.file)
            if (table.schema.metadata or {}).get(b"reteach.decode") != _RULES.encode():
                return {}
            columns = [table[name].to_pylist() for name in ("item", "stamp", "digest")]
        except (UserError, KeyError, ValueError):  # absent or damaged: look again
            return {}
        return {item: (stamp, digest) for item, stamp, digest in zip(*columns, strict=True)}
