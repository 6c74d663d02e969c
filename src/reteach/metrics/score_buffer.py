"""Scores kept for metrics that need all of them at once, in bounded memory.

An entry is one float: the score, with the truth in its sign bit (negative: absent; -0.0 is an
absent class of score 0), NaN where the truth is unknown. Several metrics can share one store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .batch import Mask, Scores

Packed = NDArray[np.floating[Any]]
Keys = NDArray[Any]  # uint32 or uint64

LIMIT = 50_000_000
"""Entries kept by default: 200 MB of float32, the ImageNet validation set."""

_BLOCK = 1 << 20


def pack(scores: Scores, truth: Mask, known: Mask | None = None) -> Packed:
    """(B, C) checked scores with the truth in the sign; always a new array."""
    packed: Packed = np.copysign(scores, truth.view(np.int8) * 2 - 1)
    if known is not None:
        packed[~known] = np.nan
    return packed


def sort_keys(packed: Packed) -> Keys:
    """Unsigned integers that sort like the scores, the truth in the lowest bit; unknown is last.

    Non-negative floats order like their bits, and sorting integers *by value* takes the truth
    along without an ``argsort``, which costs ten times as much.
    """
    width = 8 * packed.itemsize
    bits: NDArray[Any] = packed.view(np.uint32 if width == 32 else np.uint64)
    keys: Keys = (bits << 1) | (~bits >> (width - 1))
    return keys


def key_scores(keys: Keys) -> Scores:
    """The scores in :func:`sort_keys`' keys."""
    return (keys >> 1).view(np.float32 if keys.itemsize == 4 else np.float64)


class ScoreBuffer:
    """Packed rows: all of them up to ``limit`` entries; beyond that they are folded and forgotten.

    While ``whole``, :meth:`blocks` gives every row. After that each complete block goes to the
    functions registered by :meth:`on_fold`. Blocks are cut the same way however the rows came in,
    so that a result does not depend on the batch size.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.whole = True
        self.rows = 0
        self.columns = 0
        self.dtype: np.dtype[np.floating[Any]] = np.dtype(np.float32)
        self._full: list[Packed] = []
        self._tail: list[Packed] = []
        self._waiting = 0  # rows in the tail
        self._folds: list[Callable[[Packed], None]] = []

    def on_fold(self, fold: Callable[[Packed], None]) -> None:
        """Have ``fold`` called once with every block that is about to be forgotten."""
        self._folds.append(fold)

    def add(self, packed: Packed) -> None:
        """Take (B, C) packed rows; the array must not be changed afterwards."""
        if self.columns and packed.shape[1] != self.columns:
            raise UserError(f"a batch of {packed.shape[1]} classes after batches of {self.columns}")
        self.columns = packed.shape[1]
        self.dtype = np.promote_types(self.dtype, packed.dtype)
        self.rows += len(packed)
        self._tail.append(packed)
        self._waiting += len(packed)
        height = max(1, _BLOCK // max(1, self.columns))
        if self._waiting >= height:
            rows = self._tail[0] if len(self._tail) == 1 else np.concatenate(self._tail)
            cut = len(rows) - len(rows) % height
            self._full += [rows[i : i + height] for i in range(0, cut, height)]
            self._tail = [rows[cut:].copy()]
            self._waiting = len(rows) - cut
        if self.rows * self.columns > self.limit:
            self.whole = False
            self._fold_full()

    def settle(self) -> None:
        """Fold what still waits for its block to fill up; only once not ``whole``."""
        self._full = list(self.blocks())
        self._tail = []
        self._waiting = 0
        self._fold_full()

    def blocks(self) -> Iterator[Packed]:
        """The kept rows, about a million entries at a time."""
        yield from self._full
        if self._waiting:
            yield np.concatenate(self._tail)

    def _fold_full(self) -> None:
        for block in self._full:
            for fold in self._folds:
                fold(block)
        self._full = []
