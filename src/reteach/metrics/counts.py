"""Precision and recall by class (CP, CR, CF1) and over all labels (OP, OR, OF1).

As in the multi-label literature (Wang et al. 2016, CNN-RNN; Chen et al. 2019, ML-GCN):

    CP = mean_c TP_c / predicted_c     OP = Σ TP_c / Σ predicted_c
    CR = mean_c TP_c / true_c          OR = Σ TP_c / Σ true_c

and F1s are the harmonic means *of these two*: CF1 is not the mean of the classes' F1.

Where papers are silent: a class that is never predicted has precision 0 (so does the published code
of ML-GCN and its successors). A class without a true label has no recall; it is left out of CP and
CR, as it is of mAP, while its false predictions lower OP.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .accuracy import top_classes
from .batch import Mask, Scores, above, check, check_known

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class PerClass:
    """Per class (C,): fractions in [0, 1], ``support`` the number of true labels.

    Without a true label, recall and f1 are NaN; precision is 0 where nothing is predicted.
    """

    precision: Numbers
    recall: Numbers
    f1: Numbers
    support: NDArray[np.int64]


class Counts(ABC):
    """True, predicted and rightly predicted labels of each class, over a stream of batches."""

    def __init__(self) -> None:
        self._hits = self._predicted = self._true = np.zeros(0, np.int64)

    @abstractmethod
    def predict(self, scores: Scores) -> Mask:
        """(B, C) the labels predicted."""

    def update(self, scores: ArrayLike, truth: ArrayLike, known: ArrayLike | None = None) -> None:
        """Add a batch (B, C). Entries not ``known`` are neither predictions nor labels."""
        values, present = check(scores, truth)
        mask = check_known(known, present)
        predicted = self.predict(values)
        if mask is not None:
            predicted = predicted & mask
            present = present & mask
        if not self._true.size:
            self._hits, self._predicted, self._true = np.zeros((3, values.shape[1]), np.int64)
        if len(self._true) != values.shape[1]:
            raise UserError(f"{values.shape[1]} classes after batches of {len(self._true)}")
        self._predicted += predicted.sum(axis=0)
        self._true += present.sum(axis=0)
        predicted &= present
        self._hits += predicted.sum(axis=0)

    def compute(self) -> dict[str, float]:
        """``cp``, ``cr``, ``cf1``, ``op``, ``or``, ``of1`` in [0, 1]; NaN without a true label."""
        if not self._true.sum():
            return dict.fromkeys(("cp", "cr", "cf1", "op", "or", "of1"), float("nan"))
        each, counted = self.per_class(), self._true > 0
        cp, cr = float(each.precision[counted].mean()), float(each.recall[counted].mean())
        hits = int(self._hits.sum())
        op, or_ = hits / max(int(self._predicted.sum()), 1), hits / int(self._true.sum())
        cf1, of1 = _harmonic(cp, cr), _harmonic(op, or_)
        return {"cp": cp, "cr": cr, "cf1": cf1, "op": op, "or": or_, "of1": of1}

    def per_class(self) -> PerClass:
        """Precision, recall, F1 and support of each class."""
        hits, predicted, true = self._hits, self._predicted, self._true
        with np.errstate(invalid="ignore"):
            recall = hits / true
        f1 = np.where(true > 0, 2 * hits / np.maximum(predicted + true, 1), np.nan)
        return PerClass(hits / np.maximum(predicted, 1), recall, f1, true.copy())


@final
class CountsAt(Counts):
    """Predicted where ``score > threshold``."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def predict(self, scores: Scores) -> Mask:
        return above(scores, self.threshold)


@final
class CountsTop(Counts):
    """Predicted where a score is among the image's k largest and above ``threshold``.

    At -1, every image has k predictions, as the papers' "top-3" says. The published code of ML-GCN
    and its successors also asks for a probability of 0.5: ``CountsTop(3, 0.5)``.
    """

    def __init__(self, k: int = 3, threshold: float = -1.0) -> None:
        super().__init__()
        self.k = k
        self.threshold = threshold

    def predict(self, scores: Scores) -> Mask:
        top = np.zeros(scores.shape, np.bool_)
        np.put_along_axis(top, top_classes(scores, self.k), True, axis=1)
        return top & above(scores, self.threshold)


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
