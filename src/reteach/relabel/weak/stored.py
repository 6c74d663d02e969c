"""The table of ``reteach relabel hashtags`` block by block, for any number of rows.

It is in the order of its items, and so are the images of tar files that were packed in order: then both are
gone through side by side, and only a block of each is held. What comes out lies in :mod:`reteach.scratch`.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...labels import Rows, Soft
from ...parquet import open_parquet
from ...scratch import GrowingArray
from ...structured import parse_json
from ...text_column import TextColumn

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 2**16
_COLUMNS = ["item", "labels", "weight", "kind", "classes"]


class _Unusual(Exception):
    """A table that has to be looked at as a whole, or is wrong: the reader of label tables says how."""


def stored_labels(
    file: Path, items: TextColumn, classes: Sequence[str]
) -> tuple[Soft, Rows] | None:
    """The weights of the items that have some, in the order of the table, and their rows among ``items``.

    None: the table is not as ``relabel hashtags`` writes it, or in another order than the items are. Rows of
    other items are looked at for their place in the order alone.
    """
    if file.suffix.lower() != ".parquet" or not items.ascending():
        return None
    rows, columns, weights = (
        GrowingArray(np.int64),
        GrowingArray(np.int64),
        GrowingArray(np.float32),
    )
    starts, entries = GrowingArray(np.int64), 0
    starts.append(np.zeros(1, np.int64))
    last, window = "", 0
    try:
        with open_parquet(file) as table:
            listed = _class_list(table.schema_arrow)
            for batch in table.iter_batches(BLOCK, columns=_COLUMNS):
                names = TextColumn(_plain(batch, listed))
                if names[0] <= last or not names.ascending():
                    raise _Unusual
                last = names[len(names) - 1]
                window = bisect_left(items, names[0], window)
                end = bisect_right(items, last, window)
                row = items[window:end].rows_of(names)
                at, cls, weight = _entries(batch, listed, classes)
                used = np.zeros(len(names), np.bool_)
                used[at[weight > 0]] = True
                used &= row >= 0
                keep = used[at]
                lengths = np.bincount(at[keep], minlength=len(names))[used]
                rows.append(row[used] + window)
                columns.append(cls[keep])
                weights.append(weight[keep])
                starts.append(entries + np.cumsum(lengths))
                entries += int(keep.sum())
                window = end
    except (_Unusual, UserError):
        return None
    return Soft(starts.array(), columns.array(), tuple(classes), weights.array()), rows.array()


def _class_list(schema: pa.Schema) -> list[str]:
    """The class list of a table whose columns are as ``relabel hashtags`` writes them."""
    from .tag_tables import schema_of

    try:
        listed = parse_json((schema.metadata or {})[b"reteach.classes"])
        expected = schema_of(listed)
    except (KeyError, ValueError, TypeError):
        raise _Unusual from None
    names = [name for name in schema.names if name in ("unknown", *expected.names)]
    if names != expected.names or any(
        schema.field(n).type != expected.field(n).type for n in names
    ):
        raise _Unusual
    if len(set(listed)) < len(listed):
        raise _Unusual
    return list(listed)


def _plain(batch: pa.RecordBatch, listed: list[str]) -> pa.Array:
    """The items of a block all of whose rows say that they are soft and of this class list."""
    import pyarrow as pa

    batch.validate(full=True)
    if any(batch.column(name).null_count for name in _COLUMNS):
        raise _Unusual
    for name, value in (("kind", "soft"), ("classes", json.dumps(listed))):
        if batch.column(name).unique().to_pylist() != [value]:
            raise _Unusual
    return batch.column("item").cast(pa.large_string())


def _entries(
    batch: pa.RecordBatch, listed: list[str], classes: Sequence[str]
) -> tuple[Rows, Rows, NDArray[np.float32]]:
    """(row in the block, class, weight) of all labels."""
    import pyarrow as pa
    import pyarrow.compute as pc

    labels, numbers = batch.column("labels"), batch.column("weight")
    lengths = labels.value_lengths().to_numpy()
    names, weight = labels.flatten(), numbers.flatten()
    if (lengths != numbers.value_lengths().to_numpy()).any():
        raise _Unusual
    known = pc.index_in(names, value_set=pa.array(listed, pa.string()))
    index = pc.index_in(names, value_set=pa.array(list(classes), pa.string()))
    if known.null_count or index.null_count or weight.null_count:
        raise _Unusual
    at = np.repeat(np.arange(len(batch)), lengths)
    cls, values = index.to_numpy().astype(np.int64), weight.to_numpy()
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise _Unusual
    key = at * len(classes) + cls
    if len(np.unique(key)) < len(key):
        raise _Unusual
    return at, cls, values
