"""The last ranking of rows that wait in memory, where all that may be picked fits: one sort, and no database.

The order is that of :mod:`.topk_duckdb`: within a class by key, falling, by item, by score, falling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import atomic_path
from ...parquet import CHECKED
from .database import arrow, numpy
from .sieve import falling

if TYPE_CHECKING:
    import pyarrow as pa


@final
@dataclass(frozen=True, eq=False)
class RankedRows:
    """The K best rows of each class, sorted by class and rank.

    Args:
        table: ``item``, ``class`` (an index), the numbers, ``rank`` from 1.
        classes: how many there are.
    """

    table: pa.Table
    classes: int

    def counts(self) -> NDArray[np.int64]:
        """(C,) how many rows each class has."""
        return np.bincount(self._class(), minlength=self.classes).astype(np.int64)

    def count_items(self) -> int:
        """How many different items stand in the rows."""
        return len(self._encoded.dictionary)

    def repeated(self) -> tuple[Any, int] | None:
        """The first item and class, by class, that stand in several of the rows."""
        encoded = self._encoded
        pair = numpy(encoded.indices).astype(np.int64) * self.classes + self._class()
        ordered = np.sort(pair)
        twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if not len(twice):
            return None
        cls = int((twice % self.classes).min())
        items = encoded.dictionary.take(arrow(twice[twice % self.classes == cls] // self.classes))
        return min(items.to_pylist()), cls

    def write(self, out: Path, names: Sequence[str] | None, metadata: Mapping[str, str]) -> None:
        """The rows as Parquet; ``names`` stand in place of the indices of classes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: self.table[name] for name in self.table.column_names}
        columns["class"] = (
            arrow(self._class().astype(np.int32))
            if names is None
            else arrow(list(names)).cast(pa.string()).take(arrow(self._class()))
        )
        if pa.types.is_large_string(columns["item"].type):
            columns["item"] = columns["item"].cast(pa.string())
        fields = [pa.field(name, c.type, nullable=False) for name, c in columns.items()]
        table = pa.table(columns, pa.schema(fields, dict(metadata)))
        with atomic_path(out) as part:
            pq.write_table(table, part, use_dictionary=["class"], **CHECKED)

    def _class(self) -> NDArray[np.int64]:
        return numpy(self.table["class"].chunk(0))

    @cached_property
    def _encoded(self) -> pa.DictionaryArray:
        return self.table["item"].chunk(0).dictionary_encode()


def ranked(
    table: pa.Table, key: str, numbers: Sequence[str], quotas: NDArray[np.int64]
) -> RankedRows:
    """The first ``quotas`` (C,) of the rows of each class; rows of other classes are dropped.

    Raises:
        UserError: a number is not finite.
    """
    table = table.combine_chunks()
    for name in numbers:
        odd = np.flatnonzero(~np.isfinite(numpy(table[name].chunk(0))))
        if len(odd):
            item = table["item"][int(odd[0])].as_py()
            raise UserError(f"column {name!r} is not a finite number for item {item!r}")
    cls, value = numpy(table["class"].chunk(0)), numpy(table[key].chunk(0))
    rows = np.flatnonzero((cls >= 0) & (cls < len(quotas)))
    cls, value = cls[rows], value[rows]
    if value.dtype == np.float32:  # both in one number, -0 right behind 0
        both = cls.astype(np.uint64) << np.uint64(32) | falling(value)
        order = np.argsort(both)
    else:
        order = np.lexsort((-value, cls))
    cls, value = cls[order], value[order]
    same = np.zeros(len(order), np.bool_)
    same[1:] = (cls[1:] == cls[:-1]) & (value[1:] == value[:-1])
    order = _by_item(table, rows[order], same)
    rank = np.arange(len(cls)) - np.searchsorted(cls, np.arange(len(quotas)))[cls] + 1
    kept = np.flatnonzero(rank <= quotas[cls])
    found = table.take(arrow(order[kept])).combine_chunks()
    return RankedRows(found.append_column("rank", arrow(rank[kept].astype(np.int32))), len(quotas))


def _by_item(
    table: pa.Table, order: NDArray[np.int64], same: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Rows in their order, those that are equal (``same`` as the one before) by item, then score."""
    import pyarrow.compute as pc

    if not same.any():
        return order
    tied = same.copy()
    tied[:-1] |= same[1:]
    rows = table.select(["item", "score"]).take(arrow(order[tied]))
    rows = rows.append_column("run", arrow(np.cumsum(~same)[tied]))
    by = [("run", "ascending"), ("item", "ascending"), ("score", "descending")]
    order[tied] = order[tied][numpy(pc.sort_indices(rows, sort_keys=by))]
    return order
