"""Score tables read piece by piece, without the rows that cannot be picked: K of their class are better.

What is read and not wanted costs a comparison: most rows lie below the lowest bar of all classes. The bars
rise as rows gather. What is left still holds the K best rows of each class, and all that equal the last of
them; who of those is picked is settled by :mod:`.topk_duckdb`.

**Bars ahead of their proof.** That K rows of a class reach a bar proves it. After a share s of the table only
about K · s of its K best rows have been met, so the proven bars are low, and about K · ln(1 / s) rows pass
them in vain. Where the table is read in no order, the key that K · s rows reach, and some more for chance, is
a bar that K rows will most likely reach. Whether they have is looked at in the end, by :mod:`.topk_duckdb`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    import pyarrow.parquet as pq

Bars = NDArray[Any]
_BATCH = 2**17
"""Rows that are decoded at once."""
_LARGEST, _LARGEST_OF_TEXTS = 2**20, 2**18
"""More rows than this are not in memory at once: some 64 MB, of items that are numbers or texts."""
_FEWEST_CELLS, _CELLS = 2**16, 2**19
"""About so many counts, of all classes together, are made to find the bars: more for more rows."""
_EARLY = 2**16
"""Rows that gather before bars are sought ahead of their proof."""
_CHANCE = 5.0
"""Standard deviations by which more rows than expected must reach a bar ahead of its proof."""


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
    def largest(self) -> int:
        """Rows that may be in memory at once."""
        return _LARGEST if str(self.excluded.type) == "int64" else _LARGEST_OF_TEXTS

    @property
    def room(self) -> int:
        """Rows that may wait in memory before their bars are sought; 0: none."""
        picks = int(self.quotas.sum())
        return 2 * picks + _BATCH if picks <= self.largest else 0


@final
@dataclass(eq=False)
class Sieve:
    """Rows that may be picked: tables of ``item``, ``class`` (an index) and the numbers."""

    wanted: WantedRows
    bars: Bars
    """(C,) rows of a lower key are dropped: K rows reach it, or will if the rest is like what was read."""
    total: int = 0
    """Rows of the whole table, to look ahead; 0: all bars are proven."""
    seen: int = 0
    """Rows that were read."""
    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    limit: int = 0
    """Rows that may gather before the bars are raised; 0: they stay as they are."""
    whole: bool = True
    """Whether it has all rows that it let through."""

    @classmethod
    def empty(cls, wanted: WantedRows, total: int = 0) -> Sieve:
        """Nothing is known."""
        bars = np.where(wanted.quotas > 0, -np.inf, np.inf).astype(wanted.kind)
        return cls(wanted, bars, total).another()

    def another(self) -> Sieve:
        """One that begins with these bars, and no rows."""
        room = self.wanted.room
        return Sieve(
            self.wanted, self.bars, self.total, limit=min(room, _EARLY) if self.total else room
        )

    def read(self, file: Path, groups: Sequence[int] | None = None) -> Sieve:
        """The same with the rows of a file, or of some of its row groups.

        Raises:
            BadParquet: it is damaged.
            UserError: a cell is empty.
        """
        wanted = self.wanted
        names = None if wanted.classes is None else ["class"]
        columns = ["item", "class", *wanted.numbers]
        with open_parquet(file, read_dictionary=names) as reader:
            for group in range(reader.num_row_groups) if groups is None else groups:
                for batch in _batches(reader, group, columns, wanted.largest):
                    _check(file, batch)
                    self._add(batch)
        return self

    def absorb(self, other: Sieve) -> None:
        """Add what another has gathered of other rows."""
        self.bars = np.maximum(self.bars, other.bars)
        self.tables += other.tables
        self.seen += other.seen
        self.rows += other.rows
        if self.rows > self.limit:
            self.tighten()

    def take(self) -> pa.Table | None:
        """Hand over all rows; the bars stay."""
        import pyarrow as pa

        tables, self.tables, self.rows = self.tables, [], 0
        self.limit = self.another().limit
        return pa.concat_tables(tables) if tables else None

    def _add(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = self.wanted
        self.seen += len(batch)
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
        """Raise the bars to the K-th best rows that wait, or ahead of that, and drop what is below."""
        import pyarrow as pa

        if not self.limit or not self.rows:
            return
        whole = pa.concat_tables(self.tables).combine_chunks()
        cls, key = (numpy(whole[name].chunk(0)) for name in ("class", self.wanted.key))
        self.bars = np.maximum(self.bars, reached(cls, key, self._ahead()))
        kept = whole.take(arrow(np.flatnonzero(~(key < self.bars.take(cls, mode="clip")))))
        self.tables, self.rows = [kept], len(kept)
        self.limit = max(self.limit, 2 * self.rows)  # where very many are equal, seldom in vain

    def missed(self, quotas: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(C,) the classes of which fewer than K of its rows reach the bar that others were dropped by."""
        found = np.zeros(len(quotas), np.int64)
        for table in self.tables:
            cls = np.concatenate([numpy(chunk) for chunk in table["class"].chunks])
            cls = cls[(cls >= 0) & (cls < len(quotas))]
            found += np.bincount(cls, minlength=len(quotas))
        return np.isfinite(self.bars) & (found < quotas)

    def _ahead(self) -> NDArray[np.int64]:
        """(C,) of how many rows the last one is a bar: K, or fewer after a part of the table."""
        quotas = self.wanted.quotas
        share = min(1.0, self.seen / self.total) if self.total else 1.0
        expected = quotas * share
        # the number scatters like that of draws without replacement; a small one is more skewed
        more = _CHANCE * np.sqrt(expected * (1 - share)) + _CHANCE**2 / 4 * (1 - share)
        asked: NDArray[np.int64] = np.ceil(expected + more).astype(np.int64)
        return np.minimum(quotas, asked)


def _batches(
    reader: pq.ParquetFile, group: int, columns: list[str], largest: int
) -> Iterator[pa.RecordBatch]:
    """A row group in pieces; of no more than ``largest`` rows decoded whole, which is a fifth cheaper."""
    if reader.metadata.row_group(group).num_rows > largest:
        yield from reader.iter_batches(_BATCH, [group], columns, use_threads=False)
    else:
        yield from reader.read_row_group(group, columns, use_threads=False).to_batches(_BATCH)


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
    code, classes = falling(key), len(quotas)
    best, worst = int(code.min()), int(code.max())
    cells = min(max(_FEWEST_CELLS, 2 * len(key)), _CELLS)
    shift = max(0, (worst - best).bit_length() - max(1, (cells // classes).bit_length() - 1))
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


def falling(key: NDArray[Any]) -> NDArray[np.uint32]:
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
