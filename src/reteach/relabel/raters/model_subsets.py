"""Which models to take: precision and recall of every subset's proposals, by exhaustive search.

ReaL, Section 3.1: of 19 models the subset is wanted whose proposals are most precise on a gold set
while their recall stays above 97%. There are 524,287 subsets.

A subset S does *not* propose a pair if none of S finds it sufficient and at most one of S supports
it by half (see :func:`reteach.relabel.raters.propose.support`). With "pairs by the set of models that
support them" as a table over all 2^M sets, the number of such pairs is a sum over the subsets of
the complement of S: once for no support at all, and once per model for its lone half support. Each
is one zeta transform, M · 2^M additions, whatever the number of pairs. Counts are exact integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError

MOST = 24  # models; time and memory double with each

Counts = NDArray[np.int32]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Subsets:
    """Every subset of M models, entry s being the set of the bits of s; entry 0 is no model."""

    precision: Floats
    """(2^M,) share of the proposed pairs that are true; 0 where nothing is proposed."""
    recall: Floats
    """(2^M,) share of the true pairs that are proposed."""
    proposed: Counts
    """(2^M,) number of proposed pairs on the gold set."""

    def best(self, recall: float) -> int:
        """The most precise subset with at least this recall; then the one of fewest models.

        Raises:
            UserError: no subset reaches that recall.
        """
        enough = np.flatnonzero(self.recall >= recall)
        enough = enough[enough > 0]
        if not len(enough):
            raise UserError(
                f"no subset of the models reaches a recall of {recall:.2%}: "
                f"all together reach {self.recall[-1]:.2%}"
            )
        size = np.bitwise_count(enough)
        return int(enough[np.lexsort((enough, size, -self.precision[enough]))[0]])

    def frontier(self) -> NDArray[np.int64]:
        """The subsets that no other beats in both precision and recall, by falling recall."""
        size = np.bitwise_count(np.arange(len(self.recall)))
        order = np.lexsort((np.arange(len(self.recall)), size, -self.precision, -self.recall))
        order = order[order > 0]
        best_before = np.maximum.accumulate(np.append(-1.0, self.precision[order][:-1]))
        return np.asarray(order[self.precision[order] > best_before])


def search(support: NDArray[np.int8], always: Mask, truth: Mask) -> Subsets:
    """Precision and recall of all subsets on P gold pairs.

    Args:
        support: (P, M) of 0, 1, 2; a subset proposes a pair where its support sums to 2 or more.
        always: (P,) proposed by every subset, the empty one too: the original labels.
        truth: (P,) whether the class is in the image. All true pairs count for recall, so those
            that no model proposes should be among the P.

    Raises:
        UserError: more than 24 models, or no true pair.
    """
    models = support.shape[1]
    if models > MOST:
        raise UserError(
            f"{models} models have {2**models:,} subsets: search at most {MOST} models at once"
        )
    if not truth.any():
        raise UserError("the gold labels have no true label, so recall is not defined")
    proposed = _proposed(support[~always]) + np.int32(always.sum())
    found = _proposed(support[truth & ~always]) + np.int32((truth & always).sum())
    return Subsets(found / np.maximum(proposed, 1), found / int(truth.sum()), proposed)


def members(subset: int) -> list[int]:
    """The models in a subset, ascending."""
    return [m for m in range(subset.bit_length()) if subset >> m & 1]


def _proposed(support: NDArray[np.int8]) -> Counts:
    """(2^M,) how many of the pairs each subset proposes."""
    pairs, models = support.shape
    bits = 1 << np.arange(models)
    anyone = ((support > 0) * bits).sum(1)
    everything = 2**models - 1
    complement = everything - np.arange(2**models)

    missed = _below(np.bincount(anyone, minlength=2**models))[complement]
    for m in range(models):
        alone = anyone[support[:, m] == 1] & ~(1 << m)  # who else must be left out
        without = _below(np.bincount(alone, minlength=2**models))
        taken = np.flatnonzero(np.arange(2**models) >> m & 1)
        missed[taken] += without[complement[taken]]
    return np.asarray(pairs - missed, np.int32)


def _below(counts: NDArray[np.int64]) -> Counts:
    """(2^M,) zeta transform: for every set the sum of the counts of its subsets."""
    total = counts.astype(np.int32)
    step = 1
    while step < len(total):
        halves = total.reshape(-1, 2, step)
        halves[:, 1] += halves[:, 0]
        step *= 2
    return total
