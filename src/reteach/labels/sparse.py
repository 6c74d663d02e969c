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
        chosen = np.arange(len(self))[rows]
        lengths = np.diff(self.starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        at = np.arange(starts[-1]) + np.repeat(self.starts[chosen] - starts[:-1], lengths)
        return starts, at

    def _entry_rows(self) -> Rows:
        return np.repeat(np.arange(len(self)), np.diff(self.starts))
