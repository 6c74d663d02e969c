"""Labels by class and by how doubtful they are, so that a million items are summed up in no time.

The curve from the guess to a probability changes with every decision, and with it the probability of every
item. Items of nearly the same guess are therefore taken together, in bins of equal numbers, once each time
that heads have learned; up to :data:`BINS` items have a bin each. What is decided is taken out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..labels import Rows
from .prepared import Entries, Floats

BINS = 512


@final
@dataclass(frozen=True, eq=False)
class Tally:
    """N items, C classes.

    Args:
        given: the given labels.
        place: (N,) the bin of each item.
        middle: (B,) the mean guess in each bin; 0: these cannot be wrong.
        count: (B,) items.
        table: (C, B) given labels.
    """

    given: Entries
    place: NDArray[np.int32]
    middle: Floats
    count: NDArray[np.int64]
    table: NDArray[np.int64]

    @staticmethod
    def of(given: Entries, guessed: Floats, classes: int) -> Tally:
        """The bins of some guesses, (N,)."""
        n, guessed = len(given), np.asarray(guessed)
        place = np.zeros(n, np.int32)
        doubtful = np.flatnonzero(guessed > 0)
        order = doubtful[np.argsort(guessed[doubtful], kind="stable")]
        width = min(BINS, len(order))
        place[order] = 1 + np.arange(len(order)) * width // max(len(order), 1)
        count = np.bincount(place, minlength=width + 1)
        middle = np.bincount(place, guessed, width + 1) / np.maximum(count, 1)
        return Tally(
            given, place, middle.astype(np.float32), count, _table(given, place, classes, width + 1)
        )

    def sample(self, count: NDArray[np.int64]) -> Floats:
        """(S,) guesses of items that can be wrong, evenly spaced by rank; ``count`` (B,): items per bin."""
        up_to = np.cumsum(count[1:])
        total = int(up_to[-1]) if len(up_to) else 0
        ranks = (np.arange(min(total, BINS)) + 0.5) * total / max(min(total, BINS), 1)
        return self.middle[1:][np.searchsorted(up_to, ranks, side="right")]

    def left(self, decided: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(B,) items and (C, B) labels without those of the decided items."""
        count = self.count - np.bincount(self.place[decided], minlength=len(self.count))
        rows, columns = _entries(self.given, decided)
        own = columns.astype(np.int64) * len(self.count) + self.place[rows]
        taken = np.bincount(own, minlength=self.table.size).reshape(self.table.shape)
        return count, self.table - taken


def _table(given: Entries, place: NDArray[np.int32], classes: int, width: int) -> NDArray[np.int64]:
    own = given.columns.astype(np.int64) * width + place[given.rows]
    return np.bincount(own, minlength=classes * width).reshape(classes, width)


def _entries(given: Entries, rows: Rows) -> tuple[Rows, NDArray[np.int32]]:
    """The row and the class of each label of some items."""
    starts, sizes = np.asarray(given.starts[rows]), given.sizes[rows]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(rows, sizes), np.asarray(given.columns[np.repeat(starts, sizes) + within])
