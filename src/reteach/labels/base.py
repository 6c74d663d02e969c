"""What all label sets have in common."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..item_index import first_repeated, rows_among

if TYPE_CHECKING:
    import torch

Rows = NDArray[np.int64]
BLOCK = 2**16
"""Items that are looked at together where there may be very many."""


class LabelSet(ABC):
    """N items, C named classes. See :mod:`reteach.labels` for the three kinds."""

    kind: ClassVar[Literal["single", "multi", "soft"]]
    classes: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def take(self, rows: NDArray[Any] | slice) -> Self:
        """The labels of ``rows`` (indices, repeats allowed, a mask, or a slice), in that order."""

    @abstractmethod
    def pairs(self) -> tuple[Rows, Rows, NDArray[np.float32]]:
        """All (row, class, weight) entries, in row order; each array has one element per entry."""

    def blocks(
        self, size: int = BLOCK
    ) -> Iterator[tuple[int, int, Rows, Rows, NDArray[np.float32]]]:
        """The same for ``size`` items after the other: the first of them, how many they are, and their
        (row, class, weight) entries. For what is not to be as large as the data set."""
        for first in range(0, len(self), size):
            part = self.take(slice(first, first + size))
            rows, columns, weights = part.pairs()
            yield first, len(part), rows + first, columns, weights

    @abstractmethod
    def known(self) -> NDArray[np.bool_]:
        """(N,) where the item has been labelled at all.

        An empty ``Multi`` set is known: the item has none of the classes. Where an empty set says that
        nobody could tell, as in ReaL, the caller has to say so: see :meth:`any_present`.
        """

    def any_present(self) -> NDArray[np.bool_]:
        """(N,) where some class has positive weight."""
        rows, _, weights = self.pairs()
        found = np.zeros(len(self), np.bool_)
        found[rows[weights > 0]] = True
        return found

    def restrict(self, classes: Sequence[str]) -> Self:
        """The same items over fewer classes, in the given order; entries of other classes go."""
        known = set(self.classes)
        unknown = [name for name in classes if name not in known]
        if unknown:
            raise UserError(f"class {unknown[0]!r} is not in the class list")
        return self._mapped(rows_among(self.classes, classes), tuple(classes))

    def known_entries(self) -> NDArray[np.bool_] | None:
        """(N, C) where it is known whether the class is present; None where that is everywhere.

        Of items that are :meth:`known`; meant for batches, not data sets.
        """
        return None

    def __post_init__(self) -> None:
        if (twice := first_repeated(self.classes)) is not None:
            raise UserError(f"class {twice!r} is listed twice")

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.classes)

    def dense(self, device: str | torch.device | None = None) -> torch.Tensor:
        """(N, C) float32 weights: one-hot, multi-hot or soft. Meant for batches, not data sets."""
        import torch

        rows, columns, weights = self.pairs()
        out = torch.zeros(len(self), self.num_classes, device=device)
        at = torch.from_numpy(rows * self.num_classes + columns).to(device, non_blocking=True)
        out.view(-1).scatter_(0, at, torch.from_numpy(weights).to(device, non_blocking=True))
        return out

    def array(self) -> NDArray[np.float32]:
        """(N, C) float32 weights as a numpy array."""
        rows, columns, weights = self.pairs()
        out = np.zeros((len(self), self.num_classes), np.float32)
        out[rows, columns] = weights
        return out

    def present(self) -> NDArray[np.bool_]:
        """(N, C) True where a class has positive weight."""
        return self.array() > 0

    def counts(self) -> NDArray[np.float64]:
        """(C,) total weight of each class: the number of its items, for ``Single`` and ``Multi``."""
        _, columns, weights = self.pairs()
        counts = np.bincount(columns, weights.astype(np.float64), minlength=self.num_classes)
        return counts.astype(np.float64)

    def names(self) -> list[list[str]]:
        """The class names of each item."""
        rows, columns, _ = self.pairs()
        out: list[list[str]] = [[] for _ in range(len(self))]
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            out[row].append(self.classes[column])
        return out

    def reorder(self, classes: Sequence[str], what: str = "labels") -> Self:
        """The same labels over a class list that contains all names used here.

        Raises:
            UserError: a name in use is missing from ``classes``.
        """
        if tuple(classes) == self.classes:
            return self
        table = rows_among(self.classes, classes)
        used = self._used()
        unknown = [self.classes[int(c)] for c in used if table[c] < 0]
        if unknown:
            raise UserError(
                f"{what}: {len(unknown)} classes are not in the class list, first: {unknown[0]!r}"
            )
        return self._mapped(table, tuple(classes))

    def _used(self) -> Rows:
        """The classes of which there is an entry."""
        return np.unique(self.pairs()[1])

    @abstractmethod
    def _mapped(self, table: Rows, classes: tuple[str, ...]) -> Self:
        """The class indices sent through ``table``; entries sent to -1 go."""

    def digest(self) -> str:
        """A hash of kind, class names and all entries."""
        h = hashlib.blake2b(repr((self.kind.capitalize(), len(self), self.classes)).encode())
        for part in self._hashed():
            h.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        return h.hexdigest()[:16]

    def _hashed(self) -> Iterator[NDArray[Any]]:
        """All there is, piece by piece: rows, classes, weights, what is known, and more."""
        yield from (rows for _, _, rows, _, _ in self.blocks())
        yield from (columns for *_, columns, _ in self.blocks())
        yield from (weights for *_, weights in self.blocks())
        for first in range(0, len(self), BLOCK):
            yield self.take(slice(first, first + BLOCK)).known()
        yield from self._more()

    def _more(self) -> tuple[NDArray[Any], ...]:
        """What else a kind of label set holds, for its hash."""
        return ()
