"""Score tables read piece by piece, without the rows that cannot be picked: K of their class are better.

What is read and not wanted costs a comparison: most rows lie below the lowest bar of all classes. The bars
rise as rows gather. What is left still holds the K best rows of each class, and all that equal the last of
them; who of those is picked is settled by :mod:`.topk_duckdb`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...parquet import open_parquet
from .database import arrow, numpy

if TYPE_CHECKING:
    import pyarrow as pa

Bars = NDArray[Any]
_BATCH = 2**17
"""Rows that are decoded at once."""
_LARGEST, _LARGEST_OF_TEXTS = 2**20, 2**18
"""More picks than this do not wait in memory: some 64 MB of rows, of items that are numbers or texts."""
_CELLS = 2**19
"""About so many counts, of all classes together, are made to find the bars."""


@dataclass(frozen=True, eq=False)
class WantedRows:
    """What rows count.

    Args:
        quotas: (C,) K of each class.
        classes: their names, where the column ``class`` holds names; None: it holds indices.
        numbers: the columns beside ``item`` and ``class``; ``key`` is the one that ranks.
        kind: of the key.
        minimum: rows with a lower ``score`` never count.
        excluded: items that never count; of the type that items have in the result.
    """

    quotas: NDArray[np.int64]
    classes: tuple[str, ...] | None
    numbers: tuple[str, ...]
    key: str
    kind: type[np.floating]
    minimum: Any
    excluded: pa.Array

    @property
    def room(self) -> int:
        """Rows that may wait in memory before their bars are sought; 0: none."""
        picks, whole = int(self.quotas.sum()), str(self.excluded.type) == "int64"
        return 2 * picks + _BATCH if picks <= (_LARGEST if whole else _LARGEST_OF_TEXTS) else 0


@final
@dataclass(eq=False)
class Sieve:
    """Rows that may be picked: tables of ``item``, ``class`` (an index) and the numbers."""

    wanted: WantedRows
    bars: Bars
    """(C,) each class has K rows of at least this key, or it is the lowest number."""
    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    limit: int = 0
    """Rows that may gather before the bars are raised; 0: they stay as they are."""

    @classmethod
    def empty(cls, wanted: WantedRows) -> Sieve:
        """Nothing is known."""
        bars = np.where(wanted.quotas > 0, -np.inf, np.inf).astype(wanted.kind)
        return cls(wanted, bars, limit=wanted.room)

    def another(self) -> Sieve:
        """One that begins with these bars, and no rows."""
        return Sieve(self.wanted, self.bars, limit=self.wanted.room)

    def read(self, file: Path, groups: Sequence[int] | None = None) -> Sieve:
        """The same with the rows of a file, or of some of its row groups.

        Raises:
            BadParquet: it is damaged.
            UserError: a cell is empty.
        """
        wanted = self.wanted
        names = None if wanted.classes is None else ["class"]
        with open_parquet(file, read_dictionary=names) as reader:
            for batch in reader.iter_batches(
                _BATCH, groups, ["item", "class", *wanted.numbers], use_threads=False
            ):
                _check(file, batch)
                self._add(batch)
        return self

    def absorb(self, other: Sieve) -> None:
        """Add what another has gathered of other rows."""
        self.bars = np.maximum(self.bars, other.bars)
        self.tables += other.tables
        self.rows += other.rows
        if self.rows > self.limit:
            self.tighten()

    def take(self) -> pa.Table | None:
        """Hand over all rows; the bars stay."""
        import pyarrow as pa

        tables, self.tables, self.rows, self.limit = self.tables, [], 0, self.wanted.room
        return pa.concat_tables(tables) if tables else None

    def _add(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = self.wanted
        key = numpy(batch.column(wanted.key))
        rows = np.flatnonzero(~(key < self.bars.min()))  # NaN stays, and is refused later
        if wanted.minimum is not None:
            rows = rows[~(numpy(batch.column("score"))[rows] < wanted.minimum)]
        cls = _indices(batch.column("class"), wanted.classes)[rows].astype(np.int64)
        good = ~(key[rows] < self.bars.take(cls, mode="clip"))
        rows, cls = rows[good], cls[good]
        if not len(rows):
            return
        kept = batch.take(arrow(rows))
        item = kept.column("item").cast(wanted.excluded.type)
        columns = {"item": item, "class": arrow(cls)}
        table = pa.table(columns | {name: kept.column(name) for name in wanted.numbers})
        if len(wanted.excluded):
            drop = pc.is_in(item, value_set=wanted.excluded)
            table = table.filter(pc.invert(drop))
        self.tables.append(table)
        self.rows += len(table)
        if self.rows > self.limit:
            self.tighten()

    def tighten(self) -> None:
        """Raise the bars to the K-th best rows that wait, and drop what is below."""
        import pyarrow as pa

        if not self.limit or not self.rows:
            return
        whole = pa.concat_tables(self.tables).combine_chunks()
        cls, key = (numpy(whole[name].chunk(0)) for name in ("class", self.wanted.key))
        self.bars = np.maximum(self.bars, reached(cls, key, self.wanted.quotas))
        kept = whole.take(arrow(np.flatnonzero(~(key < self.bars.take(cls, mode="clip")))))
        self.tables, self.rows = [kept], len(kept)
        self.limit = max(self.limit, 2 * self.rows)  # where very many are equal, seldom in vain


def _check(file: Path, batch: pa.RecordBatch) -> None:
    """No cell is empty, and items are text.

    Raises:
        UserError: a cell is empty.
    """
    import pyarrow as pa

    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count:
            raise UserError(f"{file}: column {name!r} has {column.null_count} empty cells")
    if not pa.types.is_integer(batch.column("item").type):
        batch.column("item").validate(full=True)


def _indices(column: pa.Array, classes: Sequence[str] | None) -> NDArray[Any]:
    """Indices of classes; -1 for a name that is none of ``classes``."""
    import pyarrow as pa

    if not isinstance(column, pa.DictionaryArray):
        return numpy(column)
    if classes is None:
        met = numpy(column.dictionary)
    else:
        index = {name: n for n, name in enumerate(classes)}
        met = np.array([index.get(name, -1) for name in column.dictionary.to_pylist()], np.int64)
    return np.asarray(met[numpy(column.indices)])


def reached(cls: NDArray[Any], key: NDArray[Any], quotas: NDArray[np.int64]) -> Bars:
    """(C,) a key that K rows of the class reach, at most the K-th highest; the lowest number where none is.

    Keys are counted in steps of about equal ratios, from the highest to the lowest of all: nothing is sorted.
    """
    code, classes = _falling(key), len(quotas)
    best, worst = int(code.min()), int(code.max())
    shift = max(0, (worst - best).bit_length() - max(1, (_CELLS // classes).bit_length() - 1))
    steps = ((worst - best) >> shift) + 1
    step = (code - np.uint32(best)) >> np.uint32(shift)
    within = (cls >= 0) & (cls < classes)
    cell = (cls * steps + step)[within]
    counts = np.bincount(cell, minlength=classes * steps).reshape(classes, steps).cumsum(1)
    enough = counts >= quotas[:, None]
    last = best + ((enough.argmax(1) + 1) << shift) - 1
    found = _rising(np.minimum(last, worst).astype(np.uint32))
    bars = np.where(enough[:, -1], found, -np.inf)
    return np.where(quotas > 0, bars, np.inf).astype(key.dtype)


def _falling(key: NDArray[Any]) -> NDArray[np.uint32]:
    """Integers that rise as keys fall; of doubles, of the next lower single."""
    single = key.astype(np.float32)
    if key.dtype != np.float32:
        single = np.where(single > key, np.nextafter(single, np.float32(-np.inf)), single)
    return _turned(single.view(np.uint32))


def _rising(code: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The keys of :func:`_falling`."""
    return _turned(code).view(np.float32)


def _turned(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return np.where(bits >> np.uint32(31), bits, ~bits & np.uint32(0x7FFFFFFF))
