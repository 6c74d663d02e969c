"""A weight per class and item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .base import Rows
from .single import Single
from .sparse import Sparse


@final
@dataclass(frozen=True, eq=False, repr=False)
class Soft(Sparse):
    """A weight per (item, class) entry; classes without an entry have weight 0."""

    kind: ClassVar[Literal["soft"]] = "soft"
    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weights", np.asarray(self.weights, np.float32))
        if self.weights.size and not 0 <= self.weights.min() <= self.weights.max() < np.inf:
            raise UserError("label weights must be finite and not negative")

    @staticmethod
    def from_dense(weights: NDArray[Any], classes: Sequence[str], least: float = 0.0) -> Soft:
        """From an (N, C) array, keeping the entries above ``least``."""
        rows, columns = np.nonzero(weights > least)
        starts = np.searchsorted(rows, np.arange(len(weights) + 1))
        return Soft(starts, columns, tuple(classes), weights[rows, columns])

    def take(self, rows: NDArray[Any] | slice) -> Soft:
        starts, at = self._gather(rows)
        return Soft(starts, self.columns[at], self.classes, self.weights[at])

    def pairs(self) -> tuple[Rows, Rows, NDArray[np.float32]]:
        return self._entry_rows(), self.columns, self.weights

    def _mapped(self, table: Rows, classes: tuple[str, ...]) -> Soft:
        columns = table[self.columns]
        keep = columns >= 0
        rows = self._entry_rows()[keep]
        starts = np.searchsorted(rows, np.arange(len(self) + 1))
        return Soft(starts, columns[keep], classes, self.weights[keep])

    def argmax(self) -> Single:
        """The heaviest class of each item (the first among equals); -1 where there is no entry."""
        index = np.full(len(self), -1, np.int64)
        order = np.lexsort((self.columns, -self.weights, self._entry_rows()))
        rows, first = np.unique(self._entry_rows()[order], return_index=True)
        index[rows] = self.columns[order][first]
        return Single(index, self.classes)

    def sole(self) -> Single:
        """The class of each item whose whole weight it has; -1 where several share it, or none has any."""
        rows, columns = self._entry_rows()[self.weights > 0], self.columns[self.weights > 0]
        index = np.full(len(self), -1, np.int64)
        index[rows] = columns
        index[np.bincount(rows, minlength=len(self)) > 1] = -1
        return Single(index, self.classes)
