"""The work of ``reteach select --page``: picks in, a page of images at chosen ranks out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError, closest

if TYPE_CHECKING:
    from ..report.pages.picks import Pick

MOST = 50
"""Classes on a page, unless some are named."""


def write_page(
    page: Path, picks: Path, images: str, ranks: Sequence[int] = (), shown: Sequence[str] = ()
) -> int:
    """Write the page; returns the number of images on it.

    Args:
        ranks: by default 1, 10, 100, … and the last one.
        shown: classes; by default all, or 50 spread over the list.

    Raises:
        UserError: no picks, no such class, or images that are not there.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from ..data.loading.decode import ImageError
    from ..data.sources.base import open_source
    from ..report.pages.picks import Pick, write_picks
    from ..runs.gallery import data_url

    columns = pq.read_table(picks, columns=["class", "rank"])
    if not len(columns):
        raise UserError(f"{picks} has no picks to show")
    meta = pq.read_schema(picks).metadata or {}
    counts = _counts(columns["class"])
    indexed = isinstance(next(iter(counts)), int)
    met = range(max(counts) + 1) if indexed else sorted(counts)
    names = [str(name) for name in json.loads(meta.get(b"reteach.classes", "null")) or met]
    sizes = {str(names[cls] if indexed else cls): size for cls, size in counts.items()}
    ranks = sorted(set(ranks)) or _ranks(max(sizes.values()))
    chosen = list(shown) or _spread(list(sizes))
    for name in chosen:
        if name not in names:
            raise UserError(f"--shown: no class is called {name!r}{closest(name, names)}")
    keys = [names.index(name) if indexed else name for name in chosen]
    wanted = pq.read_table(
        picks,
        columns=["item", "class", "score", "rank"],
        filters=pc.field("rank").isin(ranks) & pc.field("class").isin(keys),
    ).to_pylist()
    items = sorted({str(row["item"]) for row in wanted})
    source = open_source(images, items)
    found: dict[tuple[str, int], Pick] = {}
    pictures: dict[str, str] = {}
    for number, item in enumerate(source.items):
        try:
            pictures[item] = data_url(source.read(number))
        except ImageError as error:
            pictures[item] = str(error)
    for row in wanted:
        name = names[row["class"]] if indexed else row["class"]
        item = str(row["item"])
        found[name, row["rank"]] = Pick(item, float(row["score"]), pictures[item])
    rows = [(name, sizes.get(name, 0), [found.get((name, r)) for r in ranks]) for name in chosen]
    write_picks(page, ranks, rows, len(names))
    return len(found)


def _counts(column: Any) -> dict[Any, int]:
    import pyarrow.compute as pc

    return {entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()}


def _ranks(most: int) -> list[int]:
    return sorted({1, most} | {10**power for power in range(1, 9) if 10**power <= most})


def _spread(names: list[str]) -> list[str]:
    at = np.linspace(0, len(names) - 1, min(MOST, len(names))).round().astype(int)
    return [names[i] for i in np.unique(at)]
