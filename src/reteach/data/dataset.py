"""A data set: images, their item ids, and one label set. Everything here is a view; images stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np
from numpy.typing import NDArray

from ..labels import LabelSet, Single, Soft, as_multi
from ..scratch import zeros
from ..text_column import TextColumn

if TYPE_CHECKING:
    from .sources.base import Source

_BLOCK = 2**16


@final
@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """N images with a label set.

    Args:
        source: where the images are read from, by source row.
        labels: the label set, N items.
        rows: (N,) the source row of each item; repeats are allowed (an image picked for two classes).
        digests: (rows of the source, 16) uint8, of the content of each image, where that is known; a
            run remembers them, and does not go on with other images.
    """

    source: Source
    labels: LabelSet
    rows: NDArray[np.int64]
    digests: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.labels):
            raise ValueError(f"{len(self.rows)} images but labels for {len(self.labels)}")

    @staticmethod
    def of(source: Source, labels: LabelSet) -> Dataset:
        """All images of a source, with labels in the source's order."""
        return Dataset(source, labels, _all_rows(len(source)))

    @staticmethod
    def unlabeled(source: Source, classes: Sequence[str]) -> Dataset:
        """All images of a source, none of them labelled."""
        none = np.broadcast_to(np.int64(-1), (len(source),))  # one number, not N
        return Dataset.of(source, Single(none, tuple(classes)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def classes(self) -> tuple[str, ...]:
        """The C class names."""
        return self.labels.classes

    @property
    def items(self) -> Sequence[str]:
        """The N item ids."""
        names = self.source.items
        if isinstance(names, TextColumn):
            return names if _is_all(self.rows, len(names)) else names.take(self.rows)
        return [names[row] for row in self.rows.tolist()]

    def item_blocks(self) -> Iterator[Sequence[str]]:
        """The same, some at a time."""
        names = self.source.items
        for start in range(0, len(self), _BLOCK):
            rows = self.rows[start : start + _BLOCK]
            if isinstance(names, TextColumn):
                yield names.take(rows)
            else:
                yield [names[row] for row in rows.tolist()]

    def with_labels(self, labels: LabelSet) -> Self:
        """The same images under other labels, row by row."""
        return replace(self, labels=labels)

    def subset(self, rows: NDArray[Any] | slice) -> Self:
        """Some items, by index or mask, in that order."""
        return replace(self, labels=self.labels.take(rows), rows=self.rows[rows])

    def take(self, picks: LabelSet, rows: NDArray[np.int64]) -> Self:
        """One item per pick: image ``rows[j]`` under the label ``picks[j]``; images may repeat."""
        of_all = _is_all(self.rows, len(self.source))
        return replace(self, labels=picks, rows=rows if of_all else self.rows[rows])

    def restrict(self, classes: Sequence[str]) -> Self:
        """Fewer classes, and only the items that have one of them."""
        narrowed = self.with_labels(self.labels.restrict(classes))
        kept = np.unique(narrowed.labels.pairs()[0])
        return narrowed.subset(kept)

    def labelled(self) -> Self:
        """The items whose label is known."""
        known = self.labels.known()
        return self if known.all() else self.subset(np.flatnonzero(known))

    def split(self, fraction: float, seed: int) -> tuple[Self, Self]:
        """(rest, held-out): about ``fraction`` of each class is held out, the same for a seed."""
        n = len(self)
        order = np.random.default_rng(seed).permutation(n)
        key = self.labels.index if isinstance(self.labels, Single) else _first(self.labels)
        by_class = order[np.argsort(key[order], kind="stable")]
        # every 1/fraction-th item along the class order: each class gives its share, to within one
        take = np.floor((np.arange(n) + 1) * fraction + 1e-9) > np.floor(
            np.arange(n) * fraction + 1e-9
        )
        held = np.zeros(n, np.bool_)
        held[by_class[take]] = True
        return self.subset(np.flatnonzero(~held)), self.subset(np.flatnonzero(held))


def _all_rows(n: int) -> NDArray[np.int64]:
    """0, 1, … n - 1; of very many not in memory."""
    out = zeros(n, np.int64)
    for start in range(0, n, _BLOCK):
        stop = min(n, start + _BLOCK)
        out[start:stop] = np.arange(start, stop)
    return out


def _is_all(rows: NDArray[np.int64], n: int) -> bool:
    """Whether these are all rows of n, in order."""
    if len(rows) != n:
        return False
    for start in range(0, n, _BLOCK):
        part = rows[start : start + _BLOCK]
        if not np.array_equal(part, np.arange(start, start + len(part))):
            return False
    return True


def _first(labels: LabelSet) -> NDArray[np.int64]:
    """The first class of each item, of soft labels the heaviest, -1 for none: enough to spread the classes
    over a split."""
    if isinstance(labels, Soft):
        return labels.argmax().index
    multi = as_multi(labels)
    out = np.full(len(multi), -1, np.int64)
    lengths = np.diff(multi.starts)
    out[lengths > 0] = multi.columns[multi.starts[:-1][lengths > 0]]
    return out
