"""Precision–recall curves of single classes, of scores that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .score_buffer import ScoreBuffer

CURVES = 12
"""Classes that a page shows curves of: those of the lowest AP."""
LEVELS = 40
"""Points of a curve at most."""


class CurvePoints(NamedTuple):
    """Points of a class's curve from the highest threshold down: who scores as much or more is taken."""

    place: int
    recall: list[float]
    precision: list[float]
    threshold: list[float]


def lowest(kept: ScoreBuffer, ap: NDArray[np.float64]) -> list[CurvePoints]:
    """The curves of the :data:`CURVES` classes of lowest AP that occur, by index.

    Of more points than :data:`LEVELS` those are taken that first reach 1/40, 2/40 … of the recall. Nothing
    where the scores were too many to be kept.
    """
    if not kept.whole:
        return []
    known = np.flatnonzero(np.isfinite(ap))
    chosen = np.sort(known[np.argsort(ap[known], kind="stable")][:CURVES])
    return list(_curves(kept, chosen.tolist()))


def _curves(kept: ScoreBuffer, classes: list[int]) -> Iterator[CurvePoints]:
    packed = np.concatenate([block[:, classes] for block in kept.blocks()]) if classes else None
    for at, index in enumerate(classes):
        assert packed is not None
        column = packed[:, at][~np.isnan(packed[:, at])]
        score, true = np.abs(column), ~np.signbit(column)
        order = np.argsort(-score, kind="stable")
        score, hits = score[order], np.cumsum(true[order])
        last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # of equal scores
        recall, precision = hits[last] / hits[-1], hits[last] / (last + 1)
        if len(last) > LEVELS:
            first = np.searchsorted(recall, np.arange(1, LEVELS + 1) / LEVELS - 1e-9)
            taken = np.unique(np.append(0, first))
            recall, precision, last = recall[taken], precision[taken], last[taken]
        yield CurvePoints(index, recall.tolist(), precision.tolist(), score[last].tolist())
