"""Small normalised cuts of an affinity matrix, found by a search whose every step is exact.

The normalised cut of a partition A_1 … A_k with an affinity W of zero diagonal is

    Ncut = Σ_t cut(A_t, rest) / vol(A_t) = k − Σ_t within(A_t) / vol(A_t),

vol(A) the sum of the rows of A, within(A) the part of it that stays inside. Shi & Malik (2000).

*The same partition on every run and machine.* Affinities are rounded to whole multiples of a power of
two, small enough that every sum over them is an exact float64 integer: no order of summation, thread
count or BLAS can change one. What remains are single divisions and additions in a fixed order, which
IEEE 754 defines to the last bit. Random numbers are the raw output of a counter-based generator.

*The search* (a memetic algorithm) runs several populations side by side that know nothing of each
other. A climb takes, again and again, the best move of one class, downhill too, each class once, and
keeps the best state seen (Fiduccia & Mattheyses 1982); a child takes each class's subset from either of
two parents after their subsets have been matched, is climbed, and replaces its first parent if better.
It ends when all populations hold the same cut; one fewer need agree after every 30 generations. That
is no proof of the optimum, which is out of reach beyond some twenty classes, but the chance that they
all got stuck at one and the same other place is small; how many hold the cut is part of the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Matrix = NDArray[np.float64]

POPULATIONS = 4
ROUNDS = 30 * (POPULATIONS - 1)  # generations at most
_MEMBERS = 96  # of each population
_WORK = 8_000_000  # members · k · C² at most, so that a thousand classes still end
_PATIENCE = 15  # moves without a new best before a climb gives up


@final
@dataclass(frozen=True, eq=False)
class Found:
    """The best partition of a search.

    Args:
        labels: (C,) subset of each class, numbered by first occurrence.
        cut: its normalised cut.
        agreed: how many of the independent populations ended with this very cut.
        populations: how many there were.
    """

    labels: Labels
    cut: float
    agreed: int
    populations: int


def whole(affinity: NDArray[np.floating[Any]]) -> Matrix:
    """(C, C) the affinity in [0, 1] as whole numbers, small enough for exact sums in float64."""
    bits = min(30, 50 - 2 * len(affinity).bit_length())
    return np.asarray(np.round(affinity * 2.0**bits), np.float64)


def normalized_cut(affinity: NDArray[np.floating[Any]], labels: Labels, k: int) -> float:
    """Ncut of one partition, without regard to the diagonal; a subset without ties counts 1."""
    weights = np.array(affinity, np.float64)
    np.fill_diagonal(weights, 0)
    member = (labels[:, None] == np.arange(k)).astype(np.float64)
    tie = weights @ member  # C, k
    within, volume = (tie * member).sum(axis=0), tie.sum(axis=1) @ member
    return float(k - (within / np.where(volume > 0, volume, 1)).sum())


class CutSample:
    """Random numbers that are the same for every version of NumPy: raw bits of Philox."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.Philox(key=seed)

    def __call__(self, *shape: int) -> NDArray[np.uint64]:
        """Uniform 64-bit numbers."""
        return np.asarray(self._bits.random_raw(int(np.prod(shape))), np.uint64).reshape(shape)

    def below(self, limit: int, *shape: int) -> Labels:
        """Uniform whole numbers in [0, limit)."""
        return (self(*shape) % np.uint64(limit)).astype(np.int64)

    def balanced(self, starts: int, size: int, k: int) -> Labels:
        """(starts, size) random partitions into subsets of equal size, up to one class."""
        return np.asarray(self(starts, size).argsort(axis=1, kind="stable") % k)


def search(
    weights: Matrix,
    k: int,
    *,
    least: int,
    seed: int,
    starts: Labels | None = None,
    on_progress: Callable[[int, str], None] = lambda done, words: None,
) -> Found:
    """The partition of smallest normalised cut that can be found.

    Args:
        weights: (C, C) whole, symmetric, zero diagonal, no row of zeros: see :func:`whole`.
        k: subsets, 1 ≤ k ≤ C.
        least: classes per subset at least, k · least ≤ C.
        seed: of the random starts.
        starts: (S, C) partitions to begin with, for the first population; the rest are random.
        on_progress: told of the generation, of :data:`ROUNDS` at most, and the cut so far.
    """
    size = len(weights)
    if k == 1:
        return Found(np.zeros(size, np.int64), 0.0, POPULATIONS, POPULATIONS)
    members = int(np.clip(_WORK // (k * size * size), 4, _MEMBERS))
    draws = CutSample(seed)
    people = draws.balanced(POPULATIONS * members, size, k)
    if starts is not None:
        given = starts[: members // 2]
        people[: len(given)] = given
    _fill(people, k, least, draws)
    people, kept = _descend(weights, people, k, least)
    for generation in range(ROUNDS):
        on_progress(generation, f"cut {k - kept.max():.5f}")
        if _holding(kept) >= POPULATIONS - generation * (POPULATIONS - 1) // ROUNDS:
            break
        children = _children(people, members, k, draws)
        _fill(children, k, least, draws)
        children, grown = climb(weights, children, k, least)
        better = grown > kept
        people[better], kept[better] = children[better], grown[better]
    people, kept = _descend(weights, people, k, least)
    holders = np.unique([canonical(row) for row in people[kept == kept.max()]], axis=0)
    return Found(
        holders[0],  # of several equally good ones the first in order
        normalized_cut(weights, holders[0], k),
        _holding(kept),
        POPULATIONS,
    )


def climb(weights: Matrix, labels: Labels, k: int, least: int) -> tuple[Labels, Matrix]:
    """One pass of best moves over each of R partitions at once.

    Args:
        weights: (C, C), as in :func:`search`.
        labels: (R, C), every subset with at least ``least`` classes.

    Returns: (R, C) the best partition on each way, and (R,) its Σ within / vol = k − Ncut.
    """
    labels = labels.copy()
    count, size = labels.shape
    rows = np.arange(count)
    degree = weights.sum(axis=0)
    member = labels[:, None, :] == np.arange(k)[:, None]  # R, k, C
    # Exact whole numbers, so that BLAS may sum in any order.
    tie = (member.reshape(-1, size).astype(np.float64) @ weights).reshape(count, k, size)
    volume = np.where(member, degree, 0.0).sum(axis=2)
    within = np.where(member, tie, 0.0).sum(axis=2)
    sizes = member.sum(axis=2)
    free = np.ones((count, size), np.bool_)
    cell = rows[:, None] * (k * size) + np.arange(size)

    best, best_labels, since = _kept(within, volume), labels.copy(), 0
    for _ in range(size):
        own = cell + labels * size  # of each class the entry of its own subset
        home, inside = np.take_along_axis(volume, labels, 1), np.take_along_axis(within, labels, 1)
        leave = (inside - 2 * tie.ravel()[own]) / np.maximum(home - degree, 1) - inside / home
        leave[~free | (np.take_along_axis(sizes, labels, 1) <= least)] = -np.inf
        gain = 2 * tie
        gain += within[:, :, None]
        gain /= volume[:, :, None] + degree
        gain -= (within / volume)[:, :, None]
        gain += leave[:, None, :]
        gain.ravel()[own] = -np.inf
        move = gain.reshape(count, -1).argmax(axis=1)
        r = np.flatnonzero(gain.reshape(count, -1)[rows, move] > -np.inf)
        if not len(r):
            break
        to, who = np.divmod(move[r], size)
        source = labels[r, who]
        within[r, source] -= 2 * tie[r, source, who]
        within[r, to] += 2 * tie[r, to, who]
        volume[r, source] -= degree[who]
        volume[r, to] += degree[who]
        sizes[r, source] -= 1
        sizes[r, to] += 1
        tie[r, source] -= weights[who]
        tie[r, to] += weights[who]
        labels[r, who] = to
        free[r, who] = False

        now = _kept(within, volume)
        better = now > best
        since = 0 if better.any() else since + 1
        best[better], best_labels[better] = now[better], labels[better]
        if since >= max(_PATIENCE, size // 16):
            break
    return best_labels, best


def canonical(labels: Labels) -> Labels:
    """The same partition with its subsets numbered by first occurrence."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(first.argsort().argsort()[inverse], np.int64)


def _holding(kept: Matrix) -> int:
    """How many populations have a member with the best cut of all."""
    champions = kept.reshape(POPULATIONS, -1).max(axis=1)
    return int((champions == champions.max()).sum())


def _kept(within: Matrix, volume: Matrix) -> Matrix:
    """(R,) Σ within / vol, added from the first subset to the last, whatever NumPy does in a sum."""
    shares = within / volume
    total = shares[:, 0].copy()
    for t in range(1, shares.shape[1]):
        total += shares[:, t]
    return np.asarray(total)


def _descend(weights: Matrix, labels: Labels, k: int, least: int) -> tuple[Labels, Matrix]:
    """Climb until no partition gets better."""
    labels, kept = climb(weights, labels, k, least)
    active = np.arange(len(labels))
    while len(active):
        again, now = climb(weights, labels[active], k, least)
        better = now > kept[active]
        active = active[better]
        labels[active], kept[active] = again[better], now[better]
    return labels, kept


def _children(people: Labels, members: int, k: int, draws: CutSample) -> Labels:
    """(R, C) each partition crossed with another of its population, and one class thrown about."""
    count, size = people.shape
    place = np.arange(count) % members
    other = (place + 1 + draws.below(members - 1, count)) % members
    partner = _matched(people, people[np.arange(count) - place + other], k)
    children = np.where(draws.below(2, count, size) == 0, people, partner)
    children[np.arange(count), draws.below(size, count)] = draws.below(k, count)
    return np.asarray(children)


def _matched(first: Labels, second: Labels, k: int) -> Labels:
    """``second`` with its subsets numbered after those of ``first``: largest overlap first."""
    rows = np.arange(len(first))
    shared = np.zeros((len(first), k, k), np.int64)
    np.add.at(shared, (rows[:, None], first, second), 1)
    table = np.empty((len(first), k), np.int64)
    for _ in range(k):
        a, b = np.divmod(shared.reshape(len(first), -1).argmax(axis=1), k)
        table[rows, b] = a
        shared[rows, a, :] = -1
        shared[rows, :, b] = -1
    return np.take_along_axis(table, second, 1)


def _fill(labels: Labels, k: int, least: int, draws: CutSample) -> None:
    """Bring every subset to ``least`` classes, in place, at the cost of the largest."""
    sizes = (labels[:, None, :] == np.arange(k)[:, None]).sum(axis=2)
    for r in np.flatnonzero(sizes.min(axis=1) < least):
        while sizes[r].min() < least:
            poor, rich = int(sizes[r].argmin()), int(sizes[r].argmax())
            donors = np.flatnonzero(labels[r] == rich)
            labels[r, donors[draws.below(len(donors), 1)[0]]] = poor
            sizes[r, poor] += 1
            sizes[r, rich] -= 1
