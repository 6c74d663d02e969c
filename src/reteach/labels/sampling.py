"""Shares of a data set by class, and how often an image of a class is drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .base import LabelSet, Rows


def stratified(labels: LabelSet, fraction: float, seed: int) -> Rows:
    """Rows of a class-balanced share of the items, as in MILe's 1 / 5 / 10 / 100% experiments.

    Each class keeps ``fraction`` of its items, at least one. An item with several labels counts for the
    heaviest, among equals for the class with the least weight in all: for its rarest class, where labels have
    no weights. Unlabelled items are never taken. The shares of one seed are nested: what
    is in the 1% is in the 10%.

    Returns: sorted row indices.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"a fraction must lie in (0, 1], got {fraction}")
    rows, columns, weights = labels.pairs()
    rows, columns = rows[weights > 0], columns[weights > 0]
    order = np.lexsort((columns, labels.counts()[columns], -weights[weights > 0], rows))
    items, first = np.unique(rows[order], return_index=True)
    group = columns[order][first]
    shuffled = np.random.default_rng(seed).permutation(len(items))
    items, group = items[shuffled], group[shuffled]
    by_class = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=labels.num_classes)
    rank = np.empty(len(items), np.int64)
    rank[by_class] = np.arange(len(items)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(items[rank < np.maximum(1, np.round(fraction * sizes[group]))])


def rebalanced(labels: LabelSet, exponent: float = 1.0) -> NDArray[np.float64]:
    """(N,) sampling probabilities, each in proportion to the frequency of the item's class to the power of
    minus ``exponent``.

    1 draws every class equally often, 0.5 in proportion to the root of its frequency, 0 as often as it
    occurs. MoPro (Li et al. 2021) weights by 0.5, and only where it retrains the classifier on a frozen
    encoder; MILe has "the same class rebalancing strategy" on WebVision, and does not say where. An item of
    several classes adds up its shares, unlabelled and empty items are never drawn. Soft labels count with
    their weights, for the frequency and for the share.
    """
    rows, columns, weights = labels.pairs()
    rows, columns = rows[weights > 0], columns[weights > 0]
    if not len(rows):
        raise UserError("class rebalancing needs at least one label")
    weights = weights[weights > 0].astype(np.float64)
    share = weights * labels.counts()[columns] ** -float(exponent)
    total = np.bincount(rows, share, minlength=len(labels))
    return np.asarray(total / total.sum())
