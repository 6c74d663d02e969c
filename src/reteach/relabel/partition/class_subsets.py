"""Class subsets for the sub-teachers of CPSD: a co- and a dis-occurrence partition of C classes.

Xu et al., IJCAI 2022, Section 3.2: build the graphs P⁺ and P⁻ of
:mod:`reteach.relabel.partition.cooccurrence` and cut each into k subsets by normalised spectral clustering
(Eq. 2). What the paper says, what is done here, and why:

* *The objective is the cut itself.* Eq. (2) relaxes the normalised cut, and k-means on the embedding is a
  heuristic for the relaxed one. Here k-means gives the first candidates, and a search
  (:mod:`reteach.relabel.partition.cut`) goes on from these and from random ones by the cut they stand for:
  ``how="search"``, the default. ``how="spectral"`` is Eq. (2) and k-means alone, as printed.
* *Balance.* The paper is silent. Plain k-means on P⁻ may return subsets of 73, 5, 1, 1 and 1 classes,
  because dis-occurrence has hardly any structure: the best of all cuts is less than 1% below a random
  one. Such subsets are no decomposition: one teacher has nearly the whole task. So each subset has at
  least max(2, C / 8k) classes, unless told otherwise. ``spectral`` has no such guard.
* *Classes without information* (never, always or only alone in an image; see ``cooccurrence``) have no
  say in the cut. They are dealt out afterwards, one by one to the smallest subset, so that each class
  still has one teacher per side; the result names them.
* *A control.* Random partitions of equal sizes: one to train on, and the cuts of many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...rng import fold
from .cooccurrence import Cooccurrence, Side
from .cut import CutSample, Found, Labels, canonical, normalized_cut, search, whole
from .spectral import eigengap, plain_spectral, spectral_partitions

Subsets = tuple[tuple[str, ...], ...]
OnProgress = Callable[[int, str], None]
How = Literal["search", "spectral"]

MOST = 2000  # classes: the search is quadratic in them
_CONTROLS = 200
_SPECTRAL = 24  # k-means runs of each kind


@final
@dataclass(frozen=True, eq=False)
class Partition:
    """k disjoint subsets that together hold all C classes, on one side, and what to compare them with.

    Args:
        side: ``co`` or ``dis``.
        subsets: class names, each subset in class order, the largest subset first.
        cut: normalised cut of the subsets, zero diagonal, over the classes that have ties.
        agreed: independent searches that ended with this very cut.
        searches: how many searches there were; 0: k-means alone.
        spectral: the smallest cut that k-means on the eigenvectors reached by itself.
        spectral_sizes: and its subsets' sizes, which nothing guards.
        random: cuts of random partitions of equal sizes.
        least: classes per subset at least.
        unplaced: classes without ties on this side, dealt out to the smallest subsets.
    """

    side: Side
    subsets: Subsets
    cut: float
    agreed: int
    searches: int
    spectral: float
    spectral_sizes: tuple[int, ...]
    random: NDArray[np.float64]
    least: int
    unplaced: tuple[str, ...]


def partition(
    seen: Cooccurrence,
    k: int,
    side: Side,
    *,
    tau: float = 2.0,
    smallest: int | None = None,
    how: How = "search",
    seed: int = 0,
    on_progress: OnProgress = lambda done, words: None,
) -> Partition:
    """Cut the classes into k subsets.

    The same arguments give the same subsets on every machine; the search explains why.

    Args:
        seen: the co-occurrence counts.
        k: subsets; 1 is the whole, for self-distillation.
        side: ``co`` puts classes together that share images, ``dis`` those that do not.
        tau: of Eq. (1).
        smallest: classes per subset at least; by default max(2, C / 8k), as far as there are so many.
        how: ``search`` for the smallest cut, or ``spectral``: Eq. (2) and k-means alone.
        seed: of the random starts and controls.
        on_progress: told of the round, of :data:`~reteach.relabel.partition.cut.ROUNDS` at most, and the
            cut so far.

    Raises:
        UserError: k or ``smallest`` do not fit the number of classes, ``smallest`` is asked of
            ``spectral``, or no two classes occur together.
    """
    size = len(seen.classes)
    _check(k, size)
    affinity = seen.affinity(side, tau)
    if not seen.pairs.any():
        raise UserError(
            "no two classes ever occur in the same image, so there is nothing to partition: "
            "a partition needs several labels per item"
        )
    weights = whole(affinity)
    tied = np.flatnonzero(weights.sum(axis=0))
    if how == "spectral" and smallest is not None:
        raise UserError("--smallest is for --method search: k-means alone does not guard the sizes")
    least = _least(1 if how == "spectral" else smallest, k, size, len(tied))
    core = weights[np.ix_(tied, tied)]
    exact = affinity[np.ix_(tied, tied)]
    starts = spectral_partitions(core, k, _SPECTRAL, fold(seed, "k-means", side, k))
    reached = np.array([normalized_cut(core, start, k) for start in starts])
    starts = starts[np.round(reached, 9).argsort(kind="stable")]
    if how == "spectral":
        plain = plain_spectral(core, k, _SPECTRAL, fold(seed, "plain", side, k))
        found = Found(canonical(plain), normalized_cut(core, plain, k), 0, 0)
    else:
        found = search(
            core,
            k,
            least=least,
            seed=fold(seed, "search", side, k),
            starts=starts,
            on_progress=on_progress,
        )
    draws = CutSample(fold(seed, "control", side, k))
    labels = np.full(size, -1, np.int64)
    labels[tied] = found.labels
    return Partition(
        side,
        _named(_dealt(labels, k), k, seen.classes),
        normalized_cut(exact, found.labels, k),
        found.agreed,
        found.populations,
        normalized_cut(exact, starts[0], k),
        tuple(sorted(np.bincount(starts[0], minlength=k).tolist(), reverse=True)),
        np.array([normalized_cut(exact, r, k) for r in draws.balanced(_CONTROLS, len(tied), k)]),
        least,
        tuple(seen.classes[c] for c in np.flatnonzero(labels < 0)),
    )


def random_subsets(classes: tuple[str, ...], k: int, seed: int = 0) -> Subsets:
    """A random partition into subsets of equal size, up to one class: the paper's control.

    Raises:
        UserError: k does not fit the number of classes.
    """
    _check(k, len(classes))
    labels = CutSample(fold(seed, "random subsets", k)).balanced(1, len(classes), k)[0]
    return _named(labels, k, classes)


def suggest(seen: Cooccurrence, tau: float = 2.0, most: int = 10) -> int:
    """A number of subsets: the widest eigengap of the co-occurrence graph between 2 and ``most``.

    The paper takes 5, where its accuracy stops growing; that costs 5 + 5 teachers.
    """
    weights = whole(seen.affinity("co", tau))
    tied = np.flatnonzero(weights.sum(axis=0))
    if len(tied) < 3:
        raise UserError("too few classes occur together to choose a number of subsets: name it")
    return eigengap(weights[np.ix_(tied, tied)], 2, most)


def _check(k: int, size: int) -> None:
    if size > MOST:
        raise UserError(f"{size} classes are more than the {MOST} that a partition can handle")
    if k < 1:
        raise UserError(f"--subsets must be at least 1, got {k}")
    if k > size:
        raise UserError(f"--subsets {k} is more than the {size} classes: take {size} or fewer")


def _least(smallest: int | None, k: int, size: int, tied: int) -> int:
    if tied < k:
        raise UserError(f"only {tied} of {size} classes can be told apart, too few for {k} subsets")
    if smallest is None:
        return max(1, min(max(2, round(size / (8 * k))), tied // k))
    if not 1 <= smallest <= tied // k:
        raise UserError(
            f"--smallest must lie in [1, {tied // k}] for {k} subsets of {tied} classes, got {smallest}"
        )
    return smallest


def _dealt(labels: Labels, k: int) -> Labels:
    """Classes without a subset (-1) go to the smallest, in class order."""
    labels = labels.copy()
    for c in np.flatnonzero(labels < 0):
        labels[c] = np.bincount(labels[labels >= 0], minlength=k).argmin()
    return labels


def _named(labels: Labels, k: int, classes: tuple[str, ...]) -> Subsets:
    groups = [tuple(classes[c] for c in np.flatnonzero(labels == t)) for t in range(k)]
    position = {name: i for i, name in enumerate(classes)}
    return tuple(sorted(groups, key=lambda group: (-len(group), position[group[0]])))
