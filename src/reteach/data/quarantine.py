"""Images that cannot be used: found before training, named with the reason, and left out.

Which images a run uses must not depend on luck or on worker timing, so every image is decoded once
before the first step. That costs less than it seems: large JPEGs are decoded at an eighth of their
size, which still reads all of the file, and with a cache a second run looks only at what changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final, runtime_checkable

import numpy as np
import PIL
from numpy.typing import NDArray

from ..files import atomic_path, atomic_write
from ..spreadsheet import guard, to_csv
from .decode import ImageError
from .parallel import Lost, each
from .sources import ArraySource, Source, shrunk

_RULES = f"1, Pillow {PIL.__version__}"
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


def verify(
    source: Source,
    rows: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    workers: int = 2,
    progress: Callable[[int], object] | None = None,
    cache: Path | None = None,
    patience: float = 60.0,
) -> list[Broken]:
    """Decode images in parallel and say which cannot be used, in the order of rows.

    An image that kills the process that reads it (twice), or takes longer than ``patience`` seconds,
    is among them. Arrays are never broken.

    Args:
        rows: which images; by default all.
        workers: processes; 0 works right here, without protection against crashes.
        progress: told how many are done.
        cache: folder that remembers the answer for files that have not changed.
    """
    lost = [Broken(-1, name, reason) for name, reason in getattr(source, "lost", ())]
    if isinstance(source, ArraySource):
        return lost
    wanted = range(len(source)) if rows is None else np.unique(np.asarray(rows)).tolist()
    memory = _Memory(source, cache) if cache is not None and isinstance(source, Stamped) else None
    todo = wanted if memory is None else [row for row in wanted if not memory.knows(row)]
    found: list[Broken] = []
    start = len(wanted) - len(todo)
    for done, (row, result) in enumerate(
        each(_Check(shrunk(source, 1)), todo, workers, patience), 1
    ):
        reason = result.reason if isinstance(result, Lost) else result
        if reason:
            found.append(Broken(row, source.items[row], reason))
        elif memory is not None:
            memory.learn(row)
        if progress is not None:
            progress(start + done)
    if memory is not None and todo:
        memory.save()
    return lost + sorted(found)


@final
@dataclass(frozen=True, eq=False)
class _Check:
    """row -> why its image cannot be used, or nothing."""

    source: Source

    def __call__(self, row: int) -> str:
        try:
            self.source.read(row)
        except ImageError as error:
            return str(error)
        return ""


@final
class _Memory:
    """item -> stamp of the files that could be decoded before, in a small Parquet file.

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
        return stamp != "" and self.known.get(self.items[row]) == stamp

    def learn(self, row: int) -> None:
        """The image is good."""
        self.known[self.items[row]] = self.stamps[row]

    def save(self) -> None:
        """Write everything that is known, whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {"item": list(self.known), "stamp": list(self.known.values())}
        table = pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})
        with atomic_path(self.file) as part:
            pq.write_table(table.replace_schema_metadata({"reteach.decode": _RULES}), part)

    def _load(self) -> dict[str, str]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.file)
            if (table.schema.metadata or {}).get(b"reteach.decode") != _RULES.encode():
                return {}
            items, stamps = table["item"].to_pylist(), table["stamp"].to_pylist()
        except (OSError, KeyError, pa.ArrowException):  # absent or damaged: look again
            return {}
        return dict(zip(items, stamps, strict=True))


def write_csv(path: Path, entries: Iterable[tuple[str, str]]) -> None:
    """Write (item, reason) pairs, sorted and each once, so that a spreadsheet executes nothing.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front; line breaks and
    other control characters are spelt out. The file is written whole or not at all.
    """
    rows = [(_spelt_out(item), _spelt_out(reason)) for item, reason in sorted(set(entries))]
    atomic_write(path, to_csv(["item", "reason"], rows))


# C0 and C1 controls, line separators, marks that reverse the reading direction, lone surrogates
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _spelt_out(cell: str) -> str:
    # the sign is looked for before control characters become a harmless-looking backslash
    mark = "'" if guard(cell) != cell else ""
    shown = _CONTROLS.sub(lambda match: repr(match[0])[1:-1], cell)
    return shown if guard(shown) != shown else mark + shown
