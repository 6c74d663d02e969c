"""Features that were made elsewhere, read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..item_index import rows_among
from ..npz import read_npz, texts
from ..parquet import read_columns


def read_features(path: Path, items: Sequence[str]) -> NDArray[np.float32]:
    """The features of ``items``, in their order, from a file of them.

    A ``.npz`` file has the arrays ``items`` (N,) and ``features`` (N, D); a ``.parquet`` file the
    columns ``item`` and ``features`` (lists of numbers).

    Raises:
        UserError: no such file, another layout, or an item without features.
    """
    names, features = _npz(path) if path.suffix.lower() == ".npz" else _parquet(path)
    rows = rows_among(items, names)
    if missing := [items[i] for i in np.flatnonzero(rows < 0).tolist()]:
        raise UserError(
            f"{path}: {len(missing)} of {len(items)} images have no features, first: {missing[0]!r}"
        )
    return features[rows]


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
