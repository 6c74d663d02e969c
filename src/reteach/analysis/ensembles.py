"""Ensembles by summed logits (ReaL, Section 4: the three best models reach 91.20%)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..item_index import ItemIndex
from ..scores.table import ScoreTable
from .predictions import column_of


def summed_logits(
    tables: Sequence[ScoreTable],
    items: ItemIndex,
    classes: Sequence[str],
    on_progress: Callable[[int], None] = lambda rows: None,
) -> NDArray[np.float32]:
    """(N, C) the models' logits added up; tables without logits give log-probabilities.

    The two differ by a constant per item and model, which moves no class before another. Holds one
    (N, C) array whatever the number of models.

    Raises:
        UserError: a table lacks classes of an item (a sum over some models would be unfair).
    """
    total = np.zeros((len(items), len(classes)), np.float32)
    rows = 0
    for table in tables:
        seen = np.zeros(len(items), np.int64)
        for batch in table.batches(items, classes):
            if table.has_logit:
                values = column_of(batch, "logit")
            else:
                values = np.log(np.maximum(batch.score, np.finfo(np.float32).tiny))
            np.add.at(total, (batch.item, batch.cls), values)
            seen += np.bincount(batch.item, minlength=len(items))
            rows += len(values)
            on_progress(rows)
        short = np.flatnonzero(seen != len(classes))
        if len(short):
            raise UserError(
                f"{table.path}: an ensemble needs all {len(classes)} classes of every item, "
                f"{items.names[int(short[0])]!r} has {int(seen[short[0]])}"
            )
    return total
