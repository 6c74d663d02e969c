"""Precision-weighted Jaccard similarity, the metric of IIRC (Abdelsalam et al., CVPR 2021, Section 3.2).

    mean over images of |Y ∩ Ŷ| / |Y ∪ Ŷ| · |Y ∩ Ŷ| / |Ŷ|

with Y the true set and Ŷ what scores above a threshold (0.5 in the authors' code). The second factor is the
precision: naming every class, or a class and its superclass to be safe, does not pay. An image with neither
labels nor predictions counts 1, as in :mod:`reteach.metrics.f1`; one with either alone counts 0.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import ArrayLike

from .accuracy import top_classes
from .batch import Mask, above, check, check_known, ratio


@final
class PrecisionWeightedJaccard:
    """The metric of batches (B, C).

    Args:
        threshold: a class is predicted where its score is above it.
        first_choice: predicted is the class of the highest score alone, as of a softmax.
    """

    def __init__(self, threshold: float = 0.5, *, first_choice: bool = False) -> None:
        self.threshold, self.first_choice = threshold, first_choice
        self.n, self._sum = 0, 0.0

    def update(self, scores: ArrayLike, truth: ArrayLike, known: ArrayLike | None = None) -> None:
        """Add a batch (B, C). Entries not ``known`` are neither predictions nor labels."""
        values, present = check(scores, truth)
        mask = check_known(known, present)
        chosen = above(values, self.threshold)
        if self.first_choice:
            asked = values if mask is None else np.where(mask, values, -1)
            chosen = np.zeros(values.shape, np.bool_)
            np.put_along_axis(chosen, top_classes(asked, 1), True, axis=1)
        if mask is not None:
            chosen, present = chosen & mask, present & mask
        self.n += len(values)
        self._sum += _similarities(chosen, present)

    def compute(self) -> float:
        """The mean in [0, 1]; NaN before the first image."""
        return ratio(self._sum, self.n)


def _similarities(chosen: Mask, present: Mask) -> float:
    hits = (chosen & present).sum(1)
    either = (chosen | present).sum(1)
    weighed = hits / np.maximum(either, 1) * hits / np.maximum(chosen.sum(1), 1)
    return float(weighed.sum() + np.count_nonzero(either == 0))
