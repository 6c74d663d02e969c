"""Labels as values: what is known about N items over C named classes.

One class per kind of label, so that nothing has to guess:

* :class:`Single` — one class per item, ``-1`` for *no label known*;
* :class:`Multi` — the set of classes present; an empty set says *none of the classes is present*. Of some
  classes it may be *unknown* whether they are present: they are neither present nor absent;
* :class:`Soft` — a weight per class and item (teachers' scores, raters' votes); no entry is weight 0.

*No label* therefore has two meanings and two spellings. An item that nobody labelled is ``-1`` in a
``Single``: it adds nothing to any loss or metric. An item with an empty ``Multi`` set has been looked
at: it is negative for all C classes but those that are unknown in it, which add nothing.

All three are immutable; methods return new label sets. Shapes: N items, C classes, B rows.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np
from numpy.typing import NDArray

from .errors import UserError

if TYPE_CHECKING:
    import torch

Rows = NDArray[np.int64]


class LabelSet(ABC):
    """N items, C named classes. See the module's docstring for the three kinds."""

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

    @abstractmethod
    def restrict(self, classes: Sequence[str]) -> LabelSet:
        """The same items over fewer classes, in the given order; entries of other classes go."""

    def known_entries(self) -> NDArray[np.bool_] | None:
        """(N, C) where it is known whether the class is present; None where that is everywhere.

        Of items that are :meth:`known`; meant for batches, not data sets.
        """
        return None

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            twice = next(c for i, c in enumerate(self.classes) if c in self.classes[:i])
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
        at = torch.from_numpy(np.stack([rows, columns])).to(device, non_blocking=True)
        out[at[0], at[1]] = torch.from_numpy(weights).to(device, non_blocking=True)
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

    def as_multi(self) -> Multi:
        """The set of classes with positive weight; an unknown ``Single`` becomes the empty set."""
        rows, columns, weights = self.pairs()
        keep = weights > 0
        return Multi.from_pairs(rows[keep], columns[keep], len(self), self.classes)

    def reorder(self, classes: Sequence[str], what: str = "labels") -> Self:
        """The same labels over a class list that contains all names used here.

        Raises:
            UserError: a name in use is missing from ``classes``.
        """
        if tuple(classes) == self.classes:
            return self
        position = {name: i for i, name in enumerate(classes)}
        table = np.array([position.get(name, -1) for name in self.classes], np.int64)
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
        h = hashlib.blake2b(repr((type(self).__name__, len(self), self.classes)).encode())
        for part in (*self.pairs(), self.known(), *self._more()):
            h.update(np.ascontiguousarray(part).tobytes())
        return h.hexdigest()[:16]

    def _more(self) -> tuple[NDArray[Any], ...]:
        """What else a kind of label set holds, for its hash."""
        return ()


@final
@dataclass(frozen=True, eq=False, repr=False)
class Single(LabelSet):
    """One class per item: ``index`` (N,) in [0, C), or -1 where no label is known."""

    index: Rows
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        index = np.asarray(self.index, np.int64)
        if index.size and (index.min() < -1 or index.max() >= len(self.classes)):
            raise UserError(
                f"label indices must lie in [-1, {len(self.classes)}), "
                f"got {index.min()} to {index.max()}"
            )
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "classes", tuple(self.classes))

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: NDArray[Any] | slice) -> Single:
        return replace(self, index=self.index[rows])

    def pairs(self) -> tuple[Rows, Rows, NDArray[np.float32]]:
        rows = np.flatnonzero(self.index >= 0)
        return rows, self.index[rows], np.ones(len(rows), np.float32)

    def known(self) -> NDArray[np.bool_]:
        return self.index >= 0

    def restrict(self, classes: Sequence[str]) -> Single:
        return self._mapped(_positions(self.classes, classes), tuple(classes))

    def _mapped(self, table: Rows, classes: tuple[str, ...]) -> Single:
        return Single(np.append(table, -1)[self.index], classes)


@dataclass(frozen=True, eq=False, repr=False)
class _Sparse(LabelSet):
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


@final
@dataclass(frozen=True, eq=False, repr=False)
class Multi(_Sparse):
    """The set of classes present in each item; the empty set means none of them.

    Args:
        unknown: per item the classes of which nobody knows whether they are present, as sets over the
            same items and classes; None where everything is known.
    """

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
        key = np.unique(np.asarray(rows, np.int64) * len(classes) + np.asarray(columns, np.int64))
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

    def as_multi(self) -> Multi:
        """The same."""
        return self

    def take(self, rows: NDArray[Any] | slice) -> Multi:
        starts, at = self._gather(rows)
        unknown = None if self.unknown is None else self.unknown.take(rows)
        return Multi(starts, self.columns[at], self.classes, unknown)

    def pairs(self) -> tuple[Rows, Rows, NDArray[np.float32]]:
        return self._entry_rows(), self.columns, np.ones(len(self.columns), np.float32)

    def restrict(self, classes: Sequence[str]) -> Multi:
        return self._mapped(_positions(self.classes, classes), tuple(classes))

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
        theirs = other.as_multi()
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


@final
@dataclass(frozen=True, eq=False, repr=False)
class Soft(_Sparse):
    """A weight per (item, class) entry; classes without an entry have weight 0."""

    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weights", np.asarray(self.weights, np.float32))
        if not np.isfinite(self.weights).all() or (self.weights < 0).any():
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

    def restrict(self, classes: Sequence[str]) -> Soft:
        return self._mapped(_positions(self.classes, classes), tuple(classes))

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


def _positions(classes: Sequence[str], wanted: Sequence[str]) -> Rows:
    """For each class its position among ``wanted``, -1 for those not wanted."""
    unknown = [name for name in wanted if name not in set(classes)]
    if unknown:
        raise UserError(f"class {unknown[0]!r} is not in the class list")
    position = {name: i for i, name in enumerate(wanted)}
    return np.array([position.get(name, -1) for name in classes], np.int64)


def stratified(labels: LabelSet, fraction: float, seed: int) -> Rows:
    """Rows of a class-balanced share of the items, as in MILe's 1 / 5 / 10 / 100% experiments.

    Each class keeps ``fraction`` of its items, at least one. An item with several labels counts for the
    heaviest, among equals for the class with the least weight in all: for its rarest class, where labels have
    no weights. Unlabelled items are never taken. The shares of one seed are nested: what
    is in the 1% is in the 10%.

    Returns: sorted row indices.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"a fraction must lie in (0, 1], got {fraction}")
    rows, columns, weights = labels.pairs()
    rows, columns = rows[weights > 0], columns[weights > 0]
    order = np.lexsort((columns, labels.counts()[columns], -weights[weights > 0], rows))
    items, first = np.unique(rows[order], return_index=True)
    group = columns[order][first]
    shuffled = np.random.default_rng(seed).permutation(len(items))
    items, group = items[shuffled], group[shuffled]
    by_class = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=labels.num_classes)
    rank = np.empty(len(items), np.int64)
    rank[by_class] = np.arange(len(items)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(items[rank < np.maximum(1, np.round(fraction * sizes[group]))])


def rebalanced(labels: LabelSet, exponent: float = 1.0) -> NDArray[np.float64]:
    """(N,) sampling probabilities, each in proportion to the frequency of the item's class to the power of
    minus ``exponent``.

    1 draws every class equally often, 0.5 in proportion to the root of its frequency, 0 as often as it
    occurs. MoPro (Li et al. 2021) weights by 0.5, and only where it retrains the classifier on a frozen
    encoder; MILe has "the same class rebalancing strategy" on WebVision, and does not say where. An item of
    several classes adds up its shares, unlabelled and empty items are never drawn. Soft labels count with
    their weights, for the frequency and for the share.
    """
    rows, columns, weights = labels.pairs()
    rows, columns = rows[weights > 0], columns[weights > 0]
    if not len(rows):
        raise UserError("class rebalancing needs at least one label")
    weights = weights[weights > 0].astype(np.float64)
    share = weights * labels.counts()[columns] ** -float(exponent)
    total = np.bincount(rows, share, minlength=len(labels))
    return np.asarray(total / total.sum())
