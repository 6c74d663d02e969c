"""Features that were made elsewhere, read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.sources.feature_table import read_shards
from ..errors import UserError
from ..item_index import rows_among
from ..npz import read_npz, texts
from ..parquet import read_columns
from ..scratch import zeros


def read_features(path: Path, items: Sequence[str]) -> NDArray[np.float32]:
    """The features of ``items``, in their order, from a file of them.

    A feature table of ``reteach embed`` is a folder; it is read shard by shard. A ``.npz`` file has the
    arrays ``items`` (N,) and ``features`` (N, D); a ``.parquet`` file the columns ``item`` and ``features``
    (lists of numbers).

    Raises:
        UserError: no such file, another layout, or an item without features.
    """
    if path.is_dir():
        return _table(path, items)
    names, features = _npz(path) if path.suffix.lower() == ".npz" else _parquet(path)
    rows = rows_among(items, names)
    _refuse_missing(path, items, rows >= 0)
    return features[rows]


def _refuse_missing(path: Path, items: Sequence[str], there: NDArray[np.bool_]) -> None:
    if there.all():
        return
    missing = np.flatnonzero(~there)
    raise UserError(
        f"{path}: {len(missing)} of {len(items)} images have no features, first: {items[int(missing[0])]!r}"
    )


def _table(folder: Path, items: Sequence[str]) -> NDArray[np.float32]:
    """Those of a feature table, of very many not in memory."""
    out: NDArray[np.float32] | None = None
    there = np.zeros(len(items), np.bool_)
    for shard in read_shards(folder):
        if out is None:
            width = shard.features.shape[2]
            out = zeros(len(items) * width, np.float32).reshape(len(items), width)
        rows = rows_among(shard.items, items)
        out[rows[rows >= 0]] = shard.features[rows >= 0, 0]
        there[rows[rows >= 0]] = True
    _refuse_missing(folder, items, there)
    assert out is not None
    return out


def _npz(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    found = read_npz(path, ("items", "features"))
    if len(found) < 2:
        raise UserError(f"{path}: needs the arrays 'items' and 'features'")
    names, features = texts(found["items"], f"{path}: items"), found["features"]
    if features.ndim != 2 or features.dtype.kind not in "fiu" or len(names) != len(features):
        raise UserError(
            f"{path}: {len(names)} items and features {features.dtype} {features.shape} do not correspond"
        )
    return names, np.asarray(features, np.float32)


def _parquet(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    import pyarrow as pa

    from ..scores.columns import one_line

    try:
        table = read_columns(path, ["item", "features"])
        flat = table["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        features = np.asarray(flat, np.float32).reshape(len(table), -1)
    except (pa.ArrowException, UserError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: needs the columns 'item' and 'features', lists of equal length "
            f"({one_line(error)})"
        ) from None
    return [str(name) for name in table["item"].to_pylist()], features
