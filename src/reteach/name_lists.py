"""The class names of the rows of a table, each different list of them once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import final, overload

import numpy as np
from numpy.typing import NDArray

from .paged import paged

_BLOCK = 1 << 16
"""Rows that are looked up at once."""


@final
class NameLists(Sequence[list[str]]):
    """The class names of each of N rows; rows with the same cell share one list.

    Args:
        codes: (N,) index into
        distinct: the different lists, each of which occurs.
    """

    def __init__(self, codes: NDArray[np.int32], distinct: list[list[str]]) -> None:
        self.codes, self.distinct = codes, distinct

    @classmethod
    def of(cls, rows: Iterable[list[str]]) -> NameLists:
        """The lists of all rows."""
        known: dict[tuple[str, ...], int] = {}
        codes = [known.setdefault(tuple(row), len(known)) for row in rows]
        return cls(np.array(codes, np.int32), [list(row) for row in known])

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, row: int) -> list[str]: ...
    @overload
    def __getitem__(self, row: slice) -> list[list[str]]: ...
    def __getitem__(self, row: int | slice) -> list[str] | list[list[str]]:
        if isinstance(row, slice):
            return [self.distinct[code] for code in self.codes[row].tolist()]
        return self.distinct[int(self.codes[row])]

    def __iter__(self) -> Iterator[list[str]]:
        return (self.distinct[code] for code in self.codes.tolist())

    def lengths(self) -> NDArray[np.int64]:
        """(N,) how many names a row has."""
        return self._of_rows([len(names) for names in self.distinct])

    def longest(self) -> int:
        """How many names a row has at most."""
        return max(map(len, self.distinct), default=0)

    def empty(self) -> int:
        """How many rows have no name."""
        if all(self.distinct):
            return 0
        return int((self.lengths() == 0).sum())

    def used(self) -> set[str]:
        """All names that occur."""
        return {name for names in self.distinct for name in names}

    def single(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """(N,) the class of the one name in each row; -1: there is none, or none of ``classes``."""
        place = {name: at for at, name in enumerate(classes)}
        return self._of_rows([place.get(n[0], -1) if n else -1 for n in self.distinct])

    def entries(self, classes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(row, class) of each name, row by row; a class is -1 where it is none of ``classes``."""
        lengths = self.lengths()
        ends = np.cumsum([0, *map(len, self.distinct)])
        place = {name: at for at, name in enumerate(classes)}
        column = np.array([place.get(n, -1) for names in self.distinct for n in names], np.int64)
        starts = np.cumsum(lengths) - lengths
        rows = np.repeat(np.arange(len(self.codes)), lengths)
        inner = np.arange(len(rows)) - starts[rows]
        return rows, column[ends[self.codes[rows]] + inner]

    def _of_rows(self, values: Sequence[int]) -> NDArray[np.int64]:
        """(N,) the number of each row's list."""
        table, out = np.array(values, np.int64), paged(len(self.codes), np.int64)
        for start in range(0, len(out), _BLOCK):  # numpy makes an index of eight bytes each time
            out[start : start + _BLOCK] = table[self.codes[start : start + _BLOCK]]
        return out
