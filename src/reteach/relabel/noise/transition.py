"""Label noise, made and measured: from right labels to wrong ones, and the matrix behind noisy labels.

All class-dependent kinds are one matrix T (C, C): ``T[i, j]`` is the share of class i's items that
carry label j. The shares are met exactly in every class, to within one item, so that two draws with
different seeds differ in *which* labels are wrong and never in how many.

Sources: symmetric noise that keeps the true label as one of the draws (Arazo et al. 2019) or not, and
pair flip (Han et al. 2018); instance-dependent noise after Xia et al. (2020); the estimate is the
calibrated confident joint of Northcutt et al. (2021).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import rng
from ...errors import UserError
from ...labels import Rows, Single
from . import clean

Matrix = NDArray[np.float64]


def symmetric(num_classes: int, rate: float, *, keep: bool = False) -> Matrix:
    """A share ``rate`` of each class is spread evenly over the other classes.

    Args:
        keep: over all classes, so that one in C of the drawn labels is the true one after all and
            only ``rate`` (C - 1) / C of the labels are wrong.
    """
    _check(rate, num_classes)
    if keep:
        return (1 - rate) * np.eye(num_classes) + rate / num_classes
    off = 1 - np.eye(num_classes)
    return (1 - rate) * np.eye(num_classes) + rate / (num_classes - 1) * off


def pair(num_classes: int, rate: float) -> Matrix:
    """A share ``rate`` of each class gets the label of the next class, the last that of the first."""
    _check(rate, num_classes)
    return (1 - rate) * np.eye(num_classes) + rate * np.roll(np.eye(num_classes), 1, axis=1)


def by_matrix(labels: Single, matrix: Matrix, seed: int, what: str = "noise matrix") -> Single:
    """Labels drawn with the shares of ``matrix``, each class's numbers exact to within one item.

    Args:
        what: the matrix in an error, such as its file.

    Raises:
        UserError: the matrix is not (C, C), or a row is not a distribution.
    """
    classes = labels.num_classes
    if matrix.shape != (classes, classes):
        raise UserError(f"a noise matrix for {classes} classes is {classes}×{classes}, got "
                        f"{'×'.join(map(str, matrix.shape))}")  # fmt: skip
    whole = np.isfinite(matrix).all(1) & (matrix >= 0).all(1) & (abs(matrix.sum(1) - 1) < 1e-6)
    if not whole.all():
        name = labels.classes[int(np.flatnonzero(~whole)[0])]
        raise UserError(f"{what}: the row of {name!r} is not shares that add up to 1")
    index = labels.index.copy()
    for true in range(classes):
        generator = np.random.default_rng(rng.fold(seed, "noise", true))
        rows = generator.permutation(np.flatnonzero(labels.index == true))
        counts = _apportioned(matrix[true], len(rows), generator)
        index[rows] = np.repeat(np.arange(classes), counts)
    return Single(index, labels.classes)


def by_instance(labels: Single, features: NDArray[Any], rate: float, seed: int) -> Single:
    """Labels whose errors depend on the image: a share ``rate`` of each class, by random projections.

    An image's inclination to be mislabelled is drawn around ``rate`` (deviation 0.1), and the wrong label
    from the softmax of its features under a random projection of its class: images that look alike are
    mistaken alike. Which of a class's images go wrong is by inclination, the number of them exact.

    Args:
        features: (N, D) numbers of any scale.
    """
    classes = labels.num_classes
    _check(rate, classes)
    if len(features) != len(labels):
        raise ValueError(f"features of {len(features)} items, labels of {len(labels)}")
    x = np.asarray(features, np.float64)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12) / max(x.shape[1], 1) ** 0.5
    index = labels.index.copy()
    for true in range(classes):
        generator = np.random.default_rng(rng.fold(seed, "noise by instance", true))
        rows = np.flatnonzero(labels.index == true)
        projection = generator.normal(size=(x.shape[1], classes))
        inclination = np.clip(generator.normal(rate, 0.1, len(rows)), 0, 1)
        lot = inclination - generator.random(len(rows))
        chosen = np.argsort(-lot, kind="stable")[: round(rate * len(rows))]
        logits = x[rows[chosen]] @ projection
        logits[:, true] = -np.inf
        gumbel = -np.log(-np.log(generator.random(logits.shape)))  # argmax of both: a softmax draw
        index[rows[chosen]] = (logits + gumbel).argmax(1)
    return Single(index, labels.classes)


def estimated(given: Single, scores: NDArray[Any]) -> Matrix:
    """The noise matrix behind given labels, from scores of models that did not see the item.

    An item counts as truly of class j when its score for j reaches the mean score of j among the items
    labelled j (of several such classes, the highest). The counts are scaled to the number of items with
    each given label, and normalised over the true class.

    Args:
        scores: (N, C) held-out probabilities.

    Returns: T (C, C). A class that no item seems to be truly of has a row of its own label alone.
    """
    p, label = _scored(given, scores)
    joint = clean.joint(p, label)  # given × true
    truly = joint.sum(0)[:, None]
    matrix: Matrix = np.divide(joint.T, truly, out=np.eye(given.num_classes), where=truly > 0)
    return matrix


def estimated_share(given: Single, scores: NDArray[Any]) -> float:
    """The estimated share of wrong labels (:func:`reteach.relabel.noise.clean.estimated_noise`)."""
    return clean.estimated_noise(*_scored(given, scores))


def _scored(given: Single, scores: NDArray[Any]) -> tuple[NDArray[np.float32], Rows]:
    """The scores and labels of the items that have both."""
    if scores.shape != (len(given), given.num_classes):
        raise ValueError(
            f"scores {scores.shape} for {len(given)} items of {given.num_classes} classes"
        )
    known = given.known() & np.isfinite(scores).all(1)
    return scores[known].astype(np.float32), given.index[known]


def _apportioned(shares: Matrix, n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Whole numbers with sum n, each within one of ``shares · n``; equal remainders by lot."""
    wanted = shares / shares.sum() * n
    counts: NDArray[np.int64] = np.floor(wanted + 1e-9).astype(np.int64)
    lot = generator.random(len(shares))
    first = np.lexsort((lot, -np.round(wanted - counts, 9)))
    counts[first[: n - int(counts.sum())]] += 1
    return counts


def _check(rate: float, num_classes: int) -> None:
    if not 0 <= rate <= 1:
        raise UserError(f"a noise rate must lie in [0, 1], got {rate}")
    if num_classes < 2:
        raise UserError("with one class there is no other label to take")
