"""Who is right where model and label disagree? (ReaL, Section 4 and Figure 1)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..labels import Multi
from .intervals import wilson
from .predictions import contained


@dataclass(frozen=True)
class Disagreement:
    """Images whose prediction is not the original label, by whom the reassessed labels support."""

    model: int
    """Only the prediction is among the reassessed labels."""
    label: int
    """Only the original label is."""
    discarded: int
    """Both are, or neither."""

    @property
    def share(self) -> float:
        """The share of the images that decide where the model is right; above ½ it wins."""
        return self.model / (self.model + self.label) if self.model + self.label else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of the share."""
        low, high = wilson(self.model, self.model + self.label)
        return float(low), float(high)


def who_is_right(
    predicted: NDArray[np.int64], original: NDArray[np.int64], labels: Multi
) -> Disagreement:
    """Count over N images.

    Args:
        predicted: (N,) the model's first prediction.
        original: (N,) original class, -1 where there is none (left out).
        labels: the reassessed labels of the same images.
    """
    model, label = contained(labels, np.stack([predicted, original], axis=1)).T
    apart = (predicted != original) & (original >= 0)
    return Disagreement(
        int((apart & model & ~label).sum()),
        int((apart & label & ~model).sum()),
        int((apart & (model == label)).sum()),
    )
