"""Losses in which classes weigh differently, and the weights that make up for their frequencies.

Of a softmax, class c counts ``w_c`` times: ``-Σ_c w_c y_c log p_c``, as PyTorch's
``CrossEntropyLoss(weight)`` has it of probabilities; the mean over the batch divides by B. Of sigmoids
``w_c`` multiplies what is present, as in PyTorch's ``BCEWithLogitsLoss(pos_weight)``. *balanced* is
scikit-learn's: N / (K n_c) of K classes that occur, so that the weights have mean 1 over the images; of
sigmoids absent / present, so that both sides of a class weigh the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..labels import LabelSet
from ..recorded import recorded
from ..spreadsheet import from_csv

Weights = NDArray[np.float32]
Link = Literal["softmax", "sigmoid"]
BALANCED = "balanced"


@final
@recorded("weighted-xent")
@dataclass(frozen=True, eq=False)
class WeightedXent:
    """:func:`.standard.softmax_xent` with weights (C,)."""

    weights: Weights

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(B, C), (B, C) -> (B,)."""
        weights = torch.from_numpy(self.weights).to(logits.device)
        return -(weights * targets * logits.float().log_softmax(-1)).sum(-1)


@final
@recorded("weighted-bce")
@dataclass(frozen=True, eq=False)
class WeightedBce:
    """:func:`.standard.sigmoid_bce` with weights (C,) of what is present.

    Args:
        summed: over the classes instead of averaged.
    """

    weights: Weights
    summed: bool = False

    def __call__(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """(B, C), (B, C)[, (B, C)] -> (B,)."""
        weights = torch.from_numpy(self.weights).to(logits.device)
        loss = F.binary_cross_entropy_with_logits(
            logits.float(), targets.float(), reduction="none", pos_weight=weights
        )
        loss = loss if known is None else loss * known
        return loss.sum(-1) if self.summed else loss.mean(-1)


def class_weights(asked: str, labels: LabelSet, link: Link) -> Weights:
    """(C,) weights: *balanced*, or those of a file.

    Raises:
        UserError: the file cannot be read, or does not name just the classes.
    """
    return balanced(labels, link) if asked == BALANCED else read(Path(asked), labels.classes)


def balanced(labels: LabelSet, link: Link) -> Weights:
    """(C,) weights that make up for the frequencies of the classes; 1 where a class does not occur."""
    count = labels.counts()
    if link == "softmax":
        against = np.full(len(count), count.sum() / max(1, np.count_nonzero(count)))
    else:
        known = labels.known_entries()
        seen = labels.known()
        of = np.count_nonzero(seen) if known is None else known[seen].sum(0)
        against = of - count
    fair = np.divide(against, count, out=np.ones_like(count), where=count > 0)
    return np.asarray(fair, np.float32)


def read(path: Path, classes: Sequence[str]) -> Weights:
    """(C,) weights from a CSV with the columns ``class`` and ``weight``, a row for each class.

    Raises:
        UserError: no such file, a missing column, a class that is missing, unknown or there twice, a weight
            that is no number of at least 0, or none above it.
    """
    header, rows = from_csv(path, "table of class weights")
    if missing := next((c for c in ("class", "weight") if c not in header), None):
        raise UserError(f"{path}: no column {missing!r}")
    found: dict[str, float] = {}
    for line, row in rows:
        name, cell = row["class"], row["weight"]
        if name in found or name not in classes:
            what = "is listed twice" if name in found else "is not in the class list"
            raise UserError(f"{path}: line {line}: class {name!r} {what}")
        found[name] = _weight(cell)
        if not 0 <= found[name] < np.inf:
            raise UserError(f"{path}: line {line}: {cell!r} is not a number of at least 0")
    if lacking := [name for name in classes if name not in found]:
        raise UserError(f"{path}: class {lacking[0]!r} has no weight: give each class one")
    if not any(found.values()):
        raise UserError(f"{path}: all weights are 0: nothing would be learned")
    return np.array([found[name] for name in classes], np.float32)


def _weight(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return -1.0
