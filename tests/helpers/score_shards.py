"""Random score tables and the slow, obvious selection: sort everything, then take."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Row = tuple[Any, Any, float]


def rows(
    seed: int,
    items: int = 300,
    classes: int = 7,
    per_item: int = 4,
    levels: int = 20,
    names: bool = False,
    text: bool = True,
) -> list[Row]:
    """``per_item`` different classes of each item, in the item's order; scores full of ties."""
    generator = np.random.default_rng(seed)
    found: list[Row] = []
    for item in generator.permutation(items).tolist():
        for cls in generator.permutation(classes)[:per_item].tolist():
            score = float(np.float32(generator.integers(0, levels + 1) / levels))
            found.append(
                (f"é{item:05d}.jpg" if text else item * 37, f"c{cls}" if names else cls, score)
            )
    return found


def write(path: Path, table: list[Row], group: int = 1000, **metadata: Any) -> Path:
    """One Parquet file."""
    text = not table or isinstance(table[0][0], str)
    names = bool(table) and isinstance(table[0][1], str)
    columns = {
        "score": pa.array([r[2] for r in table], pa.float32()),
        "item": pa.array([r[0] for r in table], pa.string() if text else pa.int64()),
        "class": pa.array([r[1] for r in table], pa.string() if names else pa.int32()),
    }
    meta = {f"reteach.{k}": v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(meta), path, row_group_size=group)
    return path


def oracle(
    table: list[Row],
    quota: dict[Any, int],
    top: int | None = None,
    minimum: float = -np.inf,
    exclude: frozenset[Any] = frozenset(),
) -> list[tuple[Any, Any, float, int]]:
    """(item, class, score, rank) by class and rank, after sorting every list in full."""
    of_item = defaultdict(list)
    for row in table:
        of_item[row[0]].append(row)
    counted = [
        row
        for group in of_item.values()
        for row in sorted(group, key=lambda r: (-r[2], r[1]))[:top]
        if row[2] >= np.float32(minimum) and row[0] not in exclude
    ]
    picks = []
    for cls, k in sorted(quota.items()):
        best = sorted((r for r in counted if r[1] == cls), key=lambda r: (-r[2], r[0]))[:k]
        picks += [(*row, rank) for rank, row in enumerate(best, 1)]
    return picks


def read(path: Path) -> list[tuple[Any, Any, float, int]]:
    """The picks on disk."""
    table = pq.read_table(path)
    return list(
        zip(*(table[c].to_pylist() for c in ("item", "class", "score", "rank")), strict=True)
    )
