"""Normalised spectral clustering of an affinity matrix: CPSD's Eq. (2) and the k-means after it.

Eigenvectors are only defined up to sign, and within a multiple eigenvalue up to a rotation, so they
differ from one LAPACK to the next. Their projector Σ v vᵀ does not, and its rows lie at the same
distances from one another as the rows of the embedding: k-means runs on those, rounded to what all
machines agree on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .cut import CutSample, Labels, Matrix

_DIGITS = 2.0**24  # eigenvectors agree to about 2⁻⁴⁵ between machines
_SWEEPS = 100


def laplacian_spectrum(weights: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues (C,), ascending, and eigenvectors (C, C) of I − D^(-1/2) W D^(-1/2)."""
    scale = 1 / np.sqrt(weights.sum(axis=0))
    values, vectors = np.linalg.eigh(np.eye(len(weights)) - scale[:, None] * weights * scale)
    return values, vectors


def eigengap(weights: Matrix, least: int, most: int) -> int:
    """The k in [least, most] with the widest gap between the k-th and the next eigenvalue."""
    values, _ = laplacian_spectrum(weights)
    candidates = np.arange(least, min(most, len(values) - 1) + 1)
    gaps = np.round((values[candidates] - values[candidates - 1]) * _DIGITS)
    return int(candidates[gaps.argmax()])


def spectral_partitions(weights: Matrix, k: int, starts: int, seed: int) -> Labels:
    """(2 · starts, C) partitions by k-means on the first k eigenvectors.

    Half of them on the rows as they are (the paper), half on rows of unit length (Ng, Jordan & Weiss
    2002). Subsets can be very unequal, down to single classes, but none is empty.
    """
    _, vectors = laplacian_spectrum(weights)
    projector = vectors[:, :k] @ vectors[:, :k].T
    length = np.sqrt(np.maximum(projector.diagonal(), 1e-12))
    draws = CutSample(seed)
    return np.concatenate(
        [
            _k_means(np.round(rows * _DIGITS) / _DIGITS, k, starts, draws)
            for rows in (projector, projector / length[:, None])
        ]
    )


def plain_spectral(weights: Matrix, k: int, starts: int, seed: int) -> Labels:
    """(C,) CPSD's Eq. (2) and nothing else: k-means on the rows of the first k eigenvectors.

    Of ``starts`` runs the one of the least squared distances to the centres, which is what k-means minimises,
    whatever cut it stands for. Subsets can be single classes, but none is empty.
    """
    _, vectors = laplacian_spectrum(weights)
    rows = np.round(vectors[:, :k] @ vectors[:, :k].T * _DIGITS) / _DIGITS
    found = _k_means(rows, k, starts, CutSample(seed))
    return np.asarray(found[np.argmin([_inertia(rows, labels, k) for labels in found])])


def _inertia(points: Matrix, labels: Labels, k: int) -> float:
    """Σ of squared distances to the centres, rounded to what all machines agree on."""
    centres = np.stack([points[labels == t].mean(axis=0) for t in range(k)])
    return float(np.round(((points - centres[labels]) ** 2).sum() * _DIGITS))


def _k_means(points: Matrix, k: int, starts: int, draws: CutSample) -> Labels:
    """(starts, C) Lloyd's algorithm from k-means++ seeds."""
    out = np.empty((starts, len(points)), np.int64)
    for start in range(starts):
        centres = points[_seeds(points, k, draws)]
        labels = np.full(len(points), -1)
        for _ in range(_SWEEPS):
            apart = _distances(points, centres)
            new = apart.argmin(axis=1)
            for t in np.flatnonzero(np.bincount(new, minlength=k) == 0):
                lonely = np.bincount(new, minlength=k)[new] > 1
                farthest = np.where(lonely, apart[np.arange(len(points)), new], -1).argmax()
                new[farthest] = t
            if (new == labels).all():
                break
            labels = new
            centres = np.stack([points[labels == t].mean(axis=0) for t in range(k)])
        out[start] = labels
    return out


def _seeds(points: Matrix, k: int, draws: CutSample) -> list[int]:
    """k-means++ (Arthur & Vassilvitskii 2007): far points are likelier."""
    chosen = [int(draws.below(len(points), 1)[0])]
    while len(chosen) < k:
        nearest = _distances(points, points[chosen]).min(axis=1)
        reach = np.cumsum(nearest)
        target = float(draws(1)[0] >> np.uint64(11)) * 2.0**-53 * reach[-1]
        chosen.append(min(int(np.searchsorted(reach, target, side="right")), len(points) - 1))
    return chosen


def _distances(points: Matrix, centres: Matrix) -> NDArray[np.float64]:
    """(n, m) squared distances, never negative."""
    square = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.asarray(np.maximum(np.round((square - 2 * points @ centres.T) * _DIGITS), 0))
