"""Names and their rows: where each of some names stands among others, and which one stands there twice."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .text_column import TextColumn

T = TypeVar("T", bound=Hashable)
Indices = NDArray[np.int64]


def rows_among(names: Iterable[T], among: Iterable[T]) -> Indices:
    """(N,) the row of each of N names in ``among``; -1 for those that are not there."""
    if isinstance(among, TextColumn):
        with suppress(UnicodeEncodeError):  # a name that is no text is nowhere; it is rare
            return among.rows_of(names)  # type: ignore[arg-type]
    row = {name: at for at, name in enumerate(among)}
    return np.array([row.get(name, -1) for name in names], np.int64)


def first_repeated(names: Iterable[T]) -> T | None:
    """The first name that has stood before; None where each stands once."""
    seen: set[T] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


class ItemIndex:
    """Item names numbered in the order of first sight; a closed index takes no new ones."""

    def __init__(self, names: Iterable[str] = (), *, closed: bool = False) -> None:
        self.names = list(names)
        self.closed = closed
        self._row = {name: row for row, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._row

    def rows(self, names: Sequence[str], where: str) -> Indices:
        """The numbers of ``names``.

        Raises:
            UserError: the index is closed and does not have one of them.
        """
        found = np.empty(len(names), np.int64)
        for i, name in enumerate(names):
            row = self._row.get(name)
            if row is None:
                if self.closed:
                    raise UserError(f"{where}: item {name!r} is not in the label table")
                row = self._row[name] = len(self.names)
                self.names.append(name)
            found[i] = row
        return found
