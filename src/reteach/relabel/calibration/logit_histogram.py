"""Counts of logits in bins: all that a calibration needs of any number of images, in fixed memory.

Bins are [i, i + 1) · 2^e for whole i. The exponent e is the smallest with which ``bins`` of them span
everything seen so far; when something falls outside, neighbouring bins are merged, which loses nothing
because the edges of wide bins are edges of narrow ones. So the sketch is the same in whatever order and
batches the logits came in, and sketches of several processes add up.

The logits are counted by *kind*: of an image's named class, of the other classes of an image with a name,
and of images that nobody has named.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import UserError

UNNAMED, NAMED, UNKNOWN = range(3)
_FINEST = -20
_WAITING = 1 << 22


@final
class LogitHistogram:
    """A histogram of each class.

    Args:
        classes: C names.
        bins: G, how many bins span the logits of all classes.
    """

    def __init__(self, classes: tuple[str, ...], bins: int = 1024) -> None:
        if bins < 2:
            raise ValueError(f"a sketch needs at least two bins, got {bins}")
        self.classes = tuple(classes)
        self.bins = bins
        self.images = 0
        self.named = 0
        self._counts = np.zeros((3, len(classes), bins), np.int64)
        self._exponent = _FINEST
        self._first: int | None = None

    def add(self, logits: ArrayLike, named: ArrayLike | None = None) -> None:
        """Add a batch.

        Args:
            logits: (B, C).
            named: (B,) the class that each image is named after, -1 for none; by default all -1.

        Raises:
            UserError: wrong shapes, a logit that is not finite, a name that is no class.
        """
        values, names = self._checked(logits, named)
        if not values.size:
            return
        self._widen(float(values.min()), float(values.max()))
        step = max(1, _WAITING // values.shape[1])
        for start in range(0, len(values), step):
            part = slice(start, start + step)
            self._count(values[part], names[part])
        self.images += len(values)
        self.named += int((names >= 0).sum())

    def centres(self) -> NDArray[np.float64]:
        """(G,) the middles of the bins."""
        first = self._first or 0
        return np.asarray((first + np.arange(self.bins) + 0.5) * 2.0**self._exponent)

    def counts(self) -> NDArray[np.float64]:
        """(3, C, G) by kind."""
        return np.asarray(self._counts, np.float64)

    def _checked(
        self, logits: ArrayLike, named: ArrayLike | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        values = np.asarray(logits, np.float32)
        width = len(self.classes)
        if values.ndim != 2 or values.shape[1] != width:
            raise UserError(f"logits must be (B, {width}) for these classes, got {values.shape}")
        names = np.full(len(values), -1) if named is None else np.asarray(named)
        if names.shape != (len(values),) or (names.size and names.max() >= width):
            raise UserError(f"names must be {len(values)} class indices below {width}")
        if values.size and not (np.isfinite(values.min()) and np.isfinite(values.max())):
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise UserError(
                f"the score of class {self.classes[column]!r} for image {self.images + row} is not "
                f"finite ({values[row, column]}): the model has diverged"
            )
        return values, names.astype(np.int64)

    def _count(self, values: NDArray[np.float32], names: NDArray[np.int64]) -> None:
        width, size = values.shape[1], values.shape[1] * self.bins
        assert self._first is not None
        at = np.floor(values * np.float32(2.0**-self._exponent)).astype(np.int64)
        at += np.arange(width) * self.bins - self._first
        flat = self._counts.reshape(3, size)
        for kind, mine in ((UNKNOWN, names < 0), (UNNAMED, names >= 0)):
            if mine.all():
                flat[kind] += np.bincount(at.ravel(), minlength=size)
            elif mine.any():
                flat[kind] += np.bincount(at[mine].ravel(), minlength=size)
        rows = np.flatnonzero(names >= 0)
        moved = np.bincount(at[rows, names[rows]], minlength=size)
        flat[NAMED] += moved
        flat[UNNAMED] -= moved

    def _widen(self, low: float, high: float) -> None:
        """Make the bins reach from ``low`` to ``high``."""
        if self._first is None:
            self._low, self._high = low, high
        low, high = min(low, self._low), max(high, self._high)
        self._low, self._high = low, high
        exponent = self._exponent
        while _bin(high, exponent) - _bin(low, exponent) >= self.bins:
            exponent += 1
        first = _bin(low, exponent)
        if self._first is not None and (exponent, first) != (self._exponent, self._first):
            old = (self._first + np.arange(self.bins)) >> (exponent - self._exponent)
            kept = np.zeros_like(self._counts)
            inside = (old >= first) & (old < first + self.bins)  # the others have never been hit
            at: Any = (..., old[inside] - first)
            np.add.at(kept, at, self._counts[..., inside])
            self._counts = kept
        self._exponent, self._first = exponent, first


def _bin(value: float, exponent: int) -> int:
    return int(np.floor(np.float32(value) * np.float32(2.0**-exponent)))
