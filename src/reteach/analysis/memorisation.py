"""Memorisation: how well training images are fitted whose given label is truly right, or truly wrong.

NCT's Figure 1 (Sarfraz et al. 2021): plain training first learns the right labels, and then fits the
wrong ones as well. A method that resists keeps a low accuracy, and a high loss, on the wrong labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import numpy as np
import torch
from torch.nn import functional as F

from ..data.loading.stream import Scan
from ..engine.evaluate import outputs
from ..engine.learner import Predictor
from ..labels import Single

MOST = 1000
"""Images of each kind that are looked at."""


@final
@dataclass(frozen=True)
class Fit:
    """How a predictor fits n labels: its accuracy and mean cross-entropy; 0 of none."""

    n: int
    accuracy: float
    cross_entropy: float

    def compute(self) -> dict[str, float]:
        """The same by name, as it is logged."""
        return {
            "n": float(self.n),
            "accuracy": self.accuracy,
            "cross_entropy": self.cross_entropy,
        }


@final
@dataclass(frozen=True, eq=False)
class Memorisation:
    """A monitor of training images: predictor -> {"train right": fit, "train wrong": fit}.

    Args:
        images: labelled images with the labels that were given, each right or wrong.
        wrong: (N,) which of them are wrong.
    """

    images: Scan
    wrong: torch.Tensor

    @classmethod
    def of(cls, images: Scan, clean: Single, most: int = MOST) -> Self:
        """Among all training images (N), with their true labels (N), at most ``most`` of each kind.

        Images whose label is not known in one of the two are left out.
        """
        given = images.dataset.labels
        assert isinstance(given, Single)
        known = given.known() & clean.known()
        wrong = given.index != clean.index
        rng = np.random.default_rng(0)
        kinds = [rng.permutation(np.flatnonzero(known & kind))[:most] for kind in (~wrong, wrong)]
        rows = np.sort(np.concatenate(kinds))
        few = replace(images, dataset=images.dataset.subset(rows))
        return cls(few, torch.from_numpy(wrong[rows]))

    def __call__(self, predictor: Predictor) -> dict[str, Fit]:
        given = self.images.dataset.labels
        assert isinstance(given, Single)
        labels = torch.from_numpy(given.index)
        found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for rows, logits in outputs(predictor.logits, self.images):
            at = torch.from_numpy(rows)
            logits, own = logits.cpu().double(), labels[at]
            right = (logits.argmax(-1) == own).double()
            found.append((self.wrong[at], right, F.cross_entropy(logits, own, reduction="none")))
        if not found:
            return {f"train {name}": Fit(0, 0.0, 0.0) for name in ("right", "wrong")}
        wrong, right, loss = map(torch.cat, zip(*found, strict=True))
        return {
            f"train {name}": _fit(right[use], loss[use])
            for name, use in (("right", ~wrong), ("wrong", wrong))
        }


def _fit(right: torch.Tensor, loss: torch.Tensor) -> Fit:
    if not len(right):
        return Fit(0, 0.0, 0.0)
    return Fit(len(right), float(right.mean()), float(loss.mean()))
