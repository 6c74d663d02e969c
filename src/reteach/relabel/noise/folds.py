"""Folds for held-out prediction: equal shares of each class, and no image in two folds.

ReaL (Beyer et al. 2020, Section 6) splits the training images into ten equal folds so that the model
that judges a label has not memorised it. An image that stands in the data twice would defeat that:
its copy, with its label, would be learned from. So copies are groups here (:mod:`reteach.duplicates`
says what a copy is), and a group is never torn apart.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ...errors import UserError
from ...labels import Rows


def stratified_folds(labels: Rows, groups: Rows, folds: int, seed: int) -> Rows:
    """The fold (N,) in [0, folds) of each item.

    Every group lies in one fold. Without groups of several items, the folds' sizes and the number of
    each class in them differ by at most one; larger groups are dealt out first and the rest fills up.

    Args:
        labels: (N,) class of each item, 0 or more.
        groups: (N,) group of each item, 0 or more.

    Raises:
        UserError: fewer than two folds, or more than groups.
    """
    if folds < 2:
        raise UserError(f"--folds must be at least 2, got {folds}")
    sizes = np.bincount(groups)
    if (sizes > 0).sum() < folds:
        raise UserError(
            f"{folds} folds need at least {folds} different images, got {(sizes > 0).sum()}"
        )
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    fold = np.full(len(labels), -1, np.int64)
    counts = np.zeros((int(labels.max()) + 1, folds), np.int64)
    alone = sizes[groups] == 1
    for members in _members(groups, shuffled[~alone[shuffled]]):
        classes, number = np.unique(labels[members], return_counts=True)
        # where its main class is rarest, and among those the smallest fold
        to = int(np.lexsort((counts.sum(0), counts[classes[number.argmax()]]))[0])
        fold[members] = to
        counts[classes, to] += number
    rest = shuffled[alone[shuffled]]
    rest = rest[np.argsort(labels[rest], kind="stable")]
    starts = np.searchsorted(labels[rest], np.arange(len(counts) + 1))
    for cls, (start, stop) in enumerate(pairwise(starts)):
        dealt = _fill(counts[cls], counts.sum(0), stop - start)
        fold[rest[start:stop]] = dealt
        counts[cls] += np.bincount(dealt, minlength=folds)
    return fold


def _members(groups: Rows, rows: Rows) -> list[Rows]:
    """The rows of each group, the largest groups first."""
    order = rows[np.argsort(groups[rows], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []
    return sorted(parts, key=len, reverse=True)


def _fill(have: Rows, total: Rows, n: int) -> Rows:
    """The folds (n,) of the next n items of a class, so that all have as many of it as possible.

    Folds that stand equal take turns, the one with the fewest items of all classes first.
    """
    turn = np.empty(len(have), np.int64)
    turn[np.lexsort((have, total))] = np.arange(len(have))
    level = have[:, None] + np.arange(n)[None, :]
    key = (level * len(have) + turn[:, None]).ravel()
    to = np.repeat(np.arange(len(have)), n)
    return to[np.argsort(key, kind="stable")[:n]]
