"""In which order items are offered: by what a look at them is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..labels import Rows
from .prepared import Entries, Floats, Kind, Opinion


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """All that an order may look at.

    Args:
        given: N given label sets.
        opinion: of heads, out of fold.
        second: of another model.
        dispute: (N,) of raters, 0 … 1.
    """

    kind: Kind
    classes: int
    given: Entries
    opinion: Opinion
    second: Opinion | None
    dispute: Floats | None
    seed: int = 0


Worth = Callable[[Evidence], Floats]


def doubt(evidence: Evidence) -> Floats:
    """(N,) 0 … 1: how sure heads are that a given label is wrong, or one is missing."""
    given, opinion = evidence.given, evidence.opinion
    out = np.zeros(len(given), np.float32)
    if len(given.columns):
        np.maximum.at(out, given.rows, 1 - opinion.given)
    if evidence.kind == "single":
        return out
    missing = np.where(_absent(given, opinion), opinion.scores, 0).max(1)
    return np.asarray(np.maximum(out, missing), np.float32)


def _absent(given: Entries, opinion: Opinion) -> NDArray[np.bool_]:
    """(N, K) which of the best classes are not among the given labels."""
    width = 1 + int(opinion.top.max(initial=0))
    width = max(width, 1 + int(given.columns.max(initial=0)))
    keys = given.rows.astype(np.int64) * width + given.columns
    at = np.arange(len(given))[:, None] * width + opinion.top
    found = np.searchsorted(keys, at.ravel()).clip(max=max(len(keys) - 1, 0))
    if not len(keys):
        return np.ones(at.shape, np.bool_)
    return np.asarray(keys[found] != at.ravel()).reshape(at.shape)


def at_random(evidence: Evidence) -> Floats:
    """(N,) no order at all."""
    return np.random.default_rng(evidence.seed).random(len(evidence.given), np.float32)


ORDERS: dict[str, Worth] = {"self-confidence": doubt, "random": at_random}
DEFAULT = "self-confidence"


def ranked(worth: Floats) -> Rows:
    """The rows, highest first; earlier ones win ties."""
    return np.argsort(-worth, kind="stable")
