"""Three quick judges of features, beside the network that a method trains: their errors are others.

``discriminant`` is linear discriminant analysis with a shrunk covariance, ``neighbours`` the vote of the
nearest images by the cosine, ``early_learning_of`` a linear layer that ELR trains. All are functions
(X, y, Z, C) -> (M, C): probabilities of Z (M, D), from X (N, D) with labels y (N,) in [0, C). Class means
and votes average wrong labels out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.special import softmax

from ..data.dataset import Dataset
from ..engine.head_trials import pictures, trained_grid
from ..engine.recipe import Recipe
from ..labels import Rows, Single
from ..options.methods import ElrOptions
from ..options.shared import Training

Matrix = NDArray[np.float32]
Judge = Callable[[Matrix, Rows, Matrix, int], Matrix]

SHRINKAGE = 0.5
"""How far the covariance within classes is drawn towards its mean variance in all directions."""
ROUNDS, MILD, TRUST = 2, 0.3, 0.3
"""How often labels are softened; what the logits are multiplied with there, for they were learned from; the
share of the given label that stays. Chosen on one draw of 5,000 CIFAR-10N images, as the other numbers."""
VOTERS, WARMTH = 50, 0.1
"""Nearest images that vote, and the difference in cosine that makes a vote e times as heavy."""
ELR_RATE, ELR_DECAY, ELR_BATCH = 0.5, 3e-3, 128
"""Its peak rate and weight decay: near what held-out given labels choose for ELR on features of CIFAR-10N."""
ELR_PASSES, ELR_STEPS = 10, 100
"""Over the images, and the fewest steps."""
_BLOCK = 1024


def discriminant(x: Matrix, y: Rows, z: Matrix, classes: int) -> Matrix:
    """Gaussians of one shrunk covariance, each class with its mean and its share of the labels.

    Then twice again with softened labels: the posterior of the true class, given the features and the label,
    by the transition from true to given classes that the Gaussians themselves suggest.
    """
    mean, spread = x.mean(0), np.maximum(x.std(0), 1e-6)
    x, z = (x - mean) / spread, (z - mean) / spread
    given = np.eye(classes)[y]
    soft, second = given, x.T @ x / len(x)
    for _ in range(ROUNDS):
        sure = softmax(MILD * _logits(x, soft, second, x), axis=1)
        transition = given.T @ sure  # given × true
        likely = sure * (transition / np.maximum(transition.sum(0), 1e-12))[y]
        soft = TRUST * given + (1 - TRUST) * likely / likely.sum(1, keepdims=True)
    return np.asarray(softmax(_logits(x, soft, second, z), axis=1), np.float32)


def _logits(
    x: Matrix, labels: NDArray[np.float64], second: NDArray[Any], z: Matrix
) -> NDArray[np.float64]:
    """(M, C) of Z, from X with soft labels (N, C); ``second``: (D, D) moments of X about 0."""
    weight = labels.sum(0)
    centres = labels.T @ x / np.maximum(weight, 1e-12)[:, None]
    covariance = second - (centres.T * (weight / len(x))) @ centres
    even = np.trace(covariance) / len(covariance)
    covariance *= 1 - SHRINKAGE
    covariance[np.diag_indices_from(covariance)] += SHRINKAGE * even + 1e-9
    directions = solve(covariance, centres.T, assume_a="pos")
    with np.errstate(divide="ignore"):
        prior = np.log(weight / len(x))
    return np.asarray(z @ directions - 0.5 * np.sum(centres.T * directions, axis=0) + prior)


def neighbours(x: Matrix, y: Rows, z: Matrix, classes: int) -> Matrix:
    """Votes of the nearest images, nearer ones heavier; no class is left without any."""
    x, z = _directions(x), _directions(z)
    voters = min(VOTERS, len(x))
    out = np.empty((len(z), classes), np.float32)
    for start in range(0, len(z), _BLOCK):
        near = z[start : start + _BLOCK] @ x.T
        who = np.argpartition(-near, voters - 1, axis=1)[:, :voters]
        weight = softmax(np.take_along_axis(near, who, 1) / WARMTH, axis=1)
        votes = np.full((len(near), classes), 1e-3)
        np.add.at(votes, (np.arange(len(near))[:, None], y[who]), weight)
        out[start : start + _BLOCK] = votes / votes.sum(1, keepdims=True)
    return out


def early_learning_of(recipe: Recipe) -> Judge:
    """A linear layer under early-learning regularisation, which holds back wrong labels.

    Args:
        recipe: that of ``elr``.
    """

    def early_learning(x: Matrix, y: Rows, z: Matrix, classes: int) -> Matrix:
        features = np.concatenate([x, z]).astype(np.float32)
        names = tuple(str(c) for c in range(classes))
        labels = Single(np.concatenate([y, np.zeros(len(z), np.int64)]), names)
        logits = trained_grid(
            recipe,
            ElrOptions(),
            Dataset.of(pictures(len(features)), labels),
            torch.from_numpy(features),
            np.arange(len(x)),
            [(ELR_RATE, ELR_DECAY)],
            Training(batch_size=ELR_BATCH),
            max(ELR_STEPS, ELR_PASSES * len(x) // ELR_BATCH),
        )
        return np.asarray(logits[0].softmax(-1).numpy(), np.float32)

    return early_learning


def pooled(judged: Sequence[Matrix]) -> Matrix:
    """(M, C): the geometric mean of several judges' probabilities, so that a class needs all of them.

    A label that one judge is sure is wrong is doubtful, also where the others shrug; an arithmetic mean would
    hear the surest of them alone.
    """
    total = sum(np.log(np.maximum(each.astype(np.float64), 1e-6)) for each in judged)
    return np.asarray(softmax(total / len(judged), axis=1), np.float32)


JUDGES: tuple[Judge, ...] = (discriminant, neighbours)


def _directions(features: Matrix) -> Matrix:
    """(N, D) at length 1."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), np.float32)
