"""Entries of few classes per item, in compressed rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .base import LabelSet, Rows


@dataclass(frozen=True, eq=False, repr=False)
class Sparse(LabelSet):
    """Entries in compressed rows: those of item i stand at ``starts[i]:starts[i + 1]``."""

    starts: Rows
    columns: Rows
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "starts", np.asarray(self.starts, np.int64))
        object.__setattr__(self, "columns", np.asarray(self.columns, np.int64))
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.columns.size and not 0 <= self.columns.min() <= self.columns.max() < len(
            self.classes
        ):
            raise UserError(
                f"label indices must lie in [0, {len(self.classes)}), "
                f"got {self.columns.min()} to {self.columns.max()}"
            )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def known(self) -> NDArray[np.bool_]:
        return np.ones(len(self), np.bool_)

    def _gather(self, rows: NDArray[Any] | slice) -> tuple[Rows, Rows]:
        """New row starts, and the positions of the entries of ``rows`` in their order."""
        chosen = _numbers(rows, len(self))
        first = self.starts[chosen]
        lengths = self.starts[chosen + 1] - first
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        at = np.arange(starts[-1]) + np.repeat(first - starts[:-1], lengths)
        return starts, at

    def _entry_rows(self) -> Rows:
        return np.repeat(np.arange(len(self)), np.diff(self.starts))


def _numbers(rows: NDArray[Any] | slice, count: int) -> Rows:
    """The indices that ``rows`` chooses out of ``count``, without an array of all for a few."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(count))
    rows = np.asarray(rows)
    if rows.dtype == np.bool_:
        if len(rows) != count:
            raise IndexError(f"a mask of {len(rows)} for {count} items")
        return np.flatnonzero(rows)
    if not rows.size:
        return np.zeros(0, np.int64)
    if rows.min() < -count or rows.max() >= count:
        raise IndexError(f"rows from {rows.min()} to {rows.max()}, but {count} items")
    return np.where(rows < 0, rows + count, rows).astype(np.int64, copy=False)
