"""The set of classes present in each item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .base import LabelSet, Rows
from .single import Single
from .sparse import Sparse


@final
@dataclass(frozen=True, eq=False, repr=False)
class Multi(Sparse):
    """The set of classes present in each item; the empty set means none of them.

    Args:
        unknown: per item the classes of which nobody knows whether they are present, as sets over the
            same items and classes; None where everything is known.
    """

    kind: ClassVar[Literal["multi"]] = "multi"
    unknown: Multi | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = self.unknown
        if unknown is None:
            return
        if len(unknown) != len(self) or unknown.classes != self.classes or unknown.unknown:
            raise ValueError("unknown entries are sets over the same items and classes")
        both = np.intersect1d(self._keys(), unknown._keys())
        if len(both):
            row, column = divmod(int(both[0]), self.num_classes)
            raise UserError(
                f"row {row} has class {self.classes[column]!r} as present and as unknown"
            )
        if not len(unknown.columns):
            object.__setattr__(self, "unknown", None)

    @staticmethod
    def from_pairs(rows: Rows, columns: Rows, n: int, classes: Sequence[str]) -> Multi:
        """From (row, class) entries in any order; repeated ones count once."""
        key = np.asarray(rows, np.int64) * len(classes) + np.asarray(columns, np.int64)
        if not (key[1:] > key[:-1]).all():  # most tables come in order
            key = np.sort(key)
            key = key[np.concatenate([[True], key[1:] != key[:-1]])]
        starts = np.searchsorted(key, np.arange(n + 1) * len(classes))
        return Multi(starts, key % max(len(classes), 1), tuple(classes))

    @staticmethod
    def from_dense(
        present: NDArray[Any], classes: Sequence[str], known: NDArray[np.bool_] | None = None
    ) -> Multi:
        """From an (N, C) array whose non-zero entries are the labels, where ``known`` (N, C)."""
        rows, columns = np.nonzero(present if known is None else present * known)
        found = Multi.from_pairs(rows, columns, len(present), classes)
        if known is None:
            return found
        rows, columns = np.nonzero(~known)
        return found.with_unknown(Multi.from_pairs(rows, columns, len(present), classes))

    def with_unknown(self, unknown: Multi | None) -> Multi:
        """The same sets, with these entries unknown; None: everything is known.

        Raises:
            UserError: an entry is present and unknown.
        """
        return Multi(self.starts, self.columns, self.classes, unknown)

    def known(self) -> NDArray[np.bool_]:
        if self.unknown is None:
            return super().known()
        return np.diff(self.unknown.starts) < self.num_classes

    def known_entries(self) -> NDArray[np.bool_] | None:
        return None if self.unknown is None else ~self.unknown.present()

    def take(self, rows: NDArray[Any] | slice) -> Multi:
        starts, at = self._gather(rows)
        unknown = None if self.unknown is None else self.unknown.take(rows)
        return Multi(starts, self.columns[at], self.classes, unknown)

    def pairs(self) -> tuple[Rows, Rows, NDArray[np.float32]]:
        return self._entry_rows(), self.columns, np.ones(len(self.columns), np.float32)

    def _mapped(self, table: Rows, classes: tuple[str, ...]) -> Multi:
        columns = table[self.columns]
        keep = columns >= 0
        found = Multi.from_pairs(self._entry_rows()[keep], columns[keep], len(self), classes)
        return found.with_unknown(self.unknown and self.unknown._mapped(table, classes))

    def _keys(self) -> Rows:
        """Each entry as one number, ascending."""
        return self._entry_rows() * self.num_classes + self.columns

    def _of_keys(self, keys: Rows) -> Multi:
        return Multi.from_pairs(*divmod(keys, self.num_classes), len(self), self.classes)

    def _used(self) -> Rows:
        mine = super()._used()
        return mine if self.unknown is None else np.union1d(mine, self.unknown._used())

    def _more(self) -> tuple[NDArray[Any], ...]:
        return () if self.unknown is None else (self.unknown.starts, self.unknown.columns)

    def union(self, other: LabelSet) -> Multi:
        """Every class that either label set has; the items must correspond row by row.

        Unknown is what both leave open.
        """
        if len(other) != len(self) or other.classes != self.classes:
            raise ValueError("a union needs the same items and the same class list")
        theirs = as_multi(other)
        both = self._of_keys(np.union1d(self._keys(), theirs._keys()))
        if self.unknown is None or theirs.unknown is None:
            return both
        open_ = np.intersect1d(self.unknown._keys(), theirs.unknown._keys())
        return both.with_unknown(self._of_keys(open_))

    def as_single(self) -> Single:
        """One class per item, where every set has at most one; an empty set becomes -1.

        Raises:
            UserError: an item has several labels, so that one would have to be chosen.
        """
        lengths = np.diff(self.starts)
        if (lengths > 1).any():
            first = int(np.flatnonzero(lengths > 1)[0])
            raise UserError(
                f"row {first} has {int(lengths[first])} labels where a single one is needed"
            )
        index = np.full(len(self), -1, np.int64)
        index[lengths == 1] = self.columns
        return Single(index, self.classes)


def as_multi(labels: LabelSet) -> Multi:
    """The set of classes with positive weight; an unknown :class:`Single` becomes the empty set."""
    if isinstance(labels, Multi):
        return labels
    rows, columns, weights = labels.pairs()
    keep = weights > 0
    return Multi.from_pairs(rows[keep], columns[keep], len(labels), labels.classes)
