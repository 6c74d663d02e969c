"""The confusion matrix of single labels: which first choice images of which class get."""

from __future__ import annotations

from collections import Counter
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from .accuracy import top_classes
from .batch import check, check_known


@final
class ConfusionMatrix:
    """Counts (class, first choice) over a stream of batches, as long as every image has one label.

    Sparse: no more than an entry per image, whatever the number of classes.
    """

    def __init__(self) -> None:
        self._cells: Counter[int] = Counter()
        self._classes = 0
        self.single = True
        """Whether every image so far had one label and no class that nobody knows of."""

    def update(self, scores: ArrayLike, truth: ArrayLike, known: ArrayLike | None = None) -> None:
        """Add a batch (B, C); nothing is counted any more once an image is not of one class."""
        values, present = check(scores, truth)
        mask = check_known(known, present)
        whole = mask is None or bool(mask.all())
        self.single &= whole and bool((present.sum(axis=1) == 1).all())
        if not self.single or not len(values):
            return
        self._classes = values.shape[1]
        cells = present.argmax(axis=1) * self._classes + top_classes(values, 1)[:, 0]
        keys, counts = np.unique(cells, return_counts=True)
        self._cells.update(dict(zip(keys.tolist(), counts.tolist(), strict=True)))

    def cells(self) -> list[tuple[int, int, int]]:
        """(class, first choice, images) where there is any image, by index; none of label sets."""
        if not self.single:
            return []
        return [(*divmod(cell, self._classes), n) for cell, n in sorted(self._cells.items())]
