"""From proposals to rating tasks: one image and at most eight classes that are alike.

ReaL, Section 3.2: images on which all models agree with the original label are not rated; images
with more than 8 proposals are split so that similar classes stand together in one task, because
raters are to contrast them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from .proposals import Proposals

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

LIMIT = 8  # classes that a rater can compare at once


@dataclass(frozen=True, eq=False)
class TaskSplit:
    """T tasks; the classes of task t are ``classes[starts[t]:starts[t + 1]]``."""

    item: Indices
    """(T,) index of the image, ascending."""
    starts: Indices
    """(T + 1,)"""
    classes: Indices
    """(pairs,) class indices, the most alike beside each other."""
    kept: NDArray[np.bool_]
    """(N,) items that need no rating and keep their original label."""

    def __len__(self) -> int:
        return len(self.item)


def split(proposals: Proposals, similarity: Floats, limit: int = LIMIT) -> TaskSplit:
    """The tasks of all items that need rating.

    Within an item, groups of classes are merged by average similarity, the most similar two that
    fit into one task first, until no two fit: no more than 2·⌈n/limit⌉ tasks for n proposals.

    Args:
        similarity: (C, C) symmetric, see :mod:`reteach.relabel.raters.hierarchy`.
        limit: most classes in a task.
    """
    if limit < 1:
        raise UserError(f"a task needs at least 1 class, got a limit of {limit}")
    kept = proposals.agreed()
    ends = np.searchsorted(proposals.pair_item, np.arange(len(proposals.items) + 1))
    item: list[int] = []
    parts: list[Indices] = []
    for i in np.flatnonzero(~kept).tolist():
        asked = proposals.pair_class[ends[i] : ends[i + 1]]
        for group in groups(similarity[np.ix_(asked, asked)], limit):
            item.append(i)
            parts.append(asked[group])
    starts = np.cumsum([0, *(len(group) for group in parts)])
    flat = np.concatenate([np.empty(0, np.int64), *parts])
    return TaskSplit(np.array(item, np.int64), starts, flat, kept)


def groups(similarity: Floats, limit: int) -> list[list[int]]:
    """Average-linkage clusters of at most ``limit`` members; ties go to the earlier pair."""
    n = len(similarity)
    members = [[i] for i in range(n)]
    size = np.ones(n)
    between = similarity.astype(np.float64)  # summed over the members of both groups
    while True:
        mean = between / np.maximum(np.outer(size, size), 1)
        mean[np.add.outer(size, size) > limit] = -np.inf
        mean[size == 0] = -np.inf
        mean[:, size == 0] = -np.inf
        mean[np.tril_indices(n)] = -np.inf
        a, b = np.unravel_index(int(mean.argmax()), mean.shape)
        if mean[a, b] == -np.inf:
            return [group for group in members if group]
        members[a], members[b] = members[a] + members[b], []
        between[a] += between[b]
        between[:, a] += between[:, b]
        size[a], size[b] = size[a] + size[b], 0
