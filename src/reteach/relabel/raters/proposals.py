"""Proposals: the classes that raters are to be asked about, image by image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import atomic_path
from ...parquet import CHECKED, parquet_errors, read_columns
from ...structured import parse_json

Indices = NDArray[np.int64]
COLUMNS = ("item", "class", "votes", "top1", "original")


@dataclass(frozen=True, eq=False)
class Proposals:
    """P proposed (item, class) pairs, sorted by item and class. On disk: a Parquet table."""

    items: list[str]
    """(N,) item names; every item has at least one pair."""
    classes: list[str]
    models: list[str]
    pair_item: Indices
    """(P,) index into ``items``."""
    pair_class: Indices
    """(P,) index into ``classes``."""
    votes: Indices
    """(P,) how often the pair was brought up: by M models, in their logits and probabilities."""
    top1: Indices
    """(P,) number of models whose first prediction it is."""
    original: NDArray[np.bool_]
    """(P,) whether it is the item's original label."""

    def agreed(self) -> NDArray[np.bool_]:
        """(N,) items whose original label is the first prediction of every model.

        Nobody needs to be asked about these: they keep the label (Section 3.2 of ReaL).
        """
        out = np.zeros(len(self.items), np.bool_)
        out[self.pair_item[self.original & (self.top1 == len(self.models))]] = True
        return out

    def write(self, path: Path) -> None:
        """Columns ``item``, ``class`` (index), ``votes``, ``top1``, ``original``; whole or not."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(
            {
                "item": pa.array(self.items, pa.string()).take(pa.array(self.pair_item)),
                "class": pa.array(self.pair_class, pa.int32()),
                "votes": pa.array(self.votes, pa.int32()),
                "top1": pa.array(self.top1, pa.int32()),
                "original": pa.array(self.original),
            }
        )
        meta = {
            "reteach.classes": json.dumps(self.classes),
            "reteach.models": json.dumps(self.models),
        }
        with atomic_path(path) as part:
            pq.write_table(table.replace_schema_metadata(meta), part, **CHECKED)


_OTHERWISE = "not a table of proposals as 'reteach relabel propose' writes it"


def read_proposals(path: Path) -> Proposals:
    """Read what :meth:`Proposals.write` wrote.

    Raises:
        UserError: no such file, or not a table of proposals.
    """
    import pyarrow as pa

    if not path.is_file():
        raise UserError(f"proposals {path} do not exist")
    table = read_columns(path, otherwise=_OTHERWISE)
    with parquet_errors(path, _OTHERWISE):
        meta = table.schema.metadata or {}
        classes = [str(name) for name in parse_json(meta[b"reteach.classes"])]
        models = [str(name) for name in parse_json(meta[b"reteach.models"])]
        columns = {name: table[name].combine_chunks() for name in COLUMNS}
        names = columns["item"].cast(pa.string()).dictionary_encode()
        item = names.indices.to_numpy().astype(np.int64)
        cls, votes, top1 = (
            columns[name].cast(pa.int64()).to_numpy() for name in ("class", "votes", "top1")
        )
        original = columns["original"].cast(pa.bool_()).to_numpy(zero_copy_only=False)
    if len(cls) and not 0 <= cls.min() <= cls.max() < len(classes):
        raise UserError(f"{path}: class indices lie outside the file's own class list")
    order = np.lexsort((cls, item))
    return Proposals(
        names.dictionary.to_pylist(),
        classes,
        models,
        item[order],
        cls[order],
        votes[order],
        top1[order],
        original.astype(np.bool_)[order],
    )
