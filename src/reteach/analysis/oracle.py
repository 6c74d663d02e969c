"""Biases in the choice of one label among several (ReaL, Section 4.2, Table 1 and Figure 6).

Only images whose original label is among their reassessed labels count. The *unbiased oracle*
predicts one of the reassessed labels at random: were the original label chosen without bias, no
model could beat its accuracy in a class. Classes where it stays below 90% are called ambiguous.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..labels import Multi
from .predictions import contained

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

AMBIGUOUS = 0.9


@dataclass(frozen=True)
class CoOccurrence:
    """One class that is often present beside another."""

    other: int
    share: float
    """The share of the images originally labelled with the class that also has the other."""


def eligible(original: Indices, labels: Multi) -> Mask:
    """(N,) images whose original label is among the reassessed ones."""
    return contained(labels, original[:, None])[:, 0]


def oracle_accuracy(original: Indices, labels: Multi) -> Floats:
    """(C,) expected accuracy of the unbiased oracle in each class; NaN without eligible images."""
    return _per_class(original, labels, 1.0 / np.maximum(np.diff(labels.starts), 1))


def class_accuracy(predicted: Indices, original: Indices, labels: Multi) -> Floats:
    """(C,) original accuracy of a model (N,) in each class, on eligible images; NaN without any."""
    return _per_class(original, labels, (predicted == original).astype(np.float64))


def ambiguous(oracle: Floats, exclude: Mask | None = None, below: float = AMBIGUOUS) -> Indices:
    """The classes where the oracle stays below 90%.

    Args:
        oracle: (C,) from :func:`oracle_accuracy`.
        exclude: (C,) classes to leave out: in fine-grained animals it is the raters who err.
    """
    low = np.nan_to_num(oracle, nan=1.0) < below
    return np.flatnonzero(low & ~exclude if exclude is not None else low)


def co_occurring(cls: int, original: Indices, labels: Multi, most: int = 5) -> list[CoOccurrence]:
    """The classes most often present in the eligible images of ``cls``, the most frequent first."""
    rows = np.flatnonzero(eligible(original, labels) & (original == cls))
    counts = labels.take(rows).counts()
    counts[cls] = 0
    order = np.argsort(-counts, kind="stable")[:most]
    return [CoOccurrence(int(c), float(counts[c] / len(rows))) for c in order if counts[c] > 0]


def _per_class(original: Indices, labels: Multi, value: Floats) -> Floats:
    """(C,) mean of ``value`` (N,) over the eligible images of each original class."""
    rows = eligible(original, labels)
    n = np.bincount(original[rows], minlength=labels.num_classes)
    total = np.bincount(original[rows], value[rows], minlength=labels.num_classes)
    return np.asarray(total / np.where(n > 0, n, np.nan))
