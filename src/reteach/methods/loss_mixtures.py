"""Two kinds of losses, those of right and of wrong labels, told apart by a mixture of two distributions.

*Beta*: Arazo et al. (ICML 2019), Section 3.1: losses are cut at their 5th and 95th percentile and scaled to
(0, 1); ten rounds of EM start from Beta(1, 2) and Beta(2, 1); the M step takes weighted moments. As in
their code, beyond its largest value the posterior of the wrong component stays there, so that a larger
loss is never a better sign. *Gaussian*: Li et al. (ICLR 2020), Section 3.1: losses scaled to [0, 1] and
scikit-learn's mixture with the settings of their code.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import lgamma

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.loading.stream import Scan
from ..engine.evaluate import outputs
from ..losses.standard import softmax_xent

Values = NDArray[np.float64]
_EDGE = 1e-3
_CELLS = 1000


def losses_of(infer: Callable[[Tensor], Tensor], images: Scan) -> Values:
    """(N,) cross-entropy on the given labels; NaN of an image that cannot be read.

    Args:
        infer: images -> logits (B, C).
        images: N, un-augmented.
    """
    labels = images.dataset.labels
    found = np.full(len(labels), np.nan)
    for rows, logits in outputs(infer, images):
        y = labels.take(rows).dense().to(logits.device)
        found[rows] = softmax_xent(logits, y).cpu().numpy()
    return found


def scaled(losses: Values, low: float, high: float) -> Values:
    """Losses as shares of the way from ``low`` to ``high``, kept off the ends."""
    return np.clip((losses - low) / (high - low + 1e-6), _EDGE, 1 - _EDGE)


def fit_beta(losses: Values, rounds: int = 10) -> Values:
    """(8,) α, β and weight of both components, the lower one first, and the ends of the scale.

    Args:
        losses: (N,), NaN where unknown.
    """
    known = losses[~np.isnan(losses)]
    low, high = np.percentile(known, [5, 95])
    x = scaled(known[(known >= low) & (known <= high)], low, high)
    parameters = np.array([1.0, 2.0, 0.5, 2.0, 1.0, 0.5])
    for _ in range(rounds):
        share = _densities(x, parameters)
        share = share / share.sum(0)
        parameters = np.concatenate([_moments(x, weight) for weight in share])
    return np.concatenate([parameters, [low, high]])


def wrong_by_beta(losses: Values, fitted: Values) -> Values:
    """(N,) the posterior of the component of large losses, never falling where the loss rises."""
    grid = (np.arange(_CELLS) + 0.5) / _CELLS
    both = _densities(grid, fitted[:6])
    table = both[1] / both.sum(0)
    peak = int(table.argmax())
    table[peak:] = table[peak]
    place = scaled(losses, *fitted[6:].tolist()) * _CELLS
    return np.asarray(table[np.minimum(place.astype(np.int64), _CELLS - 1)])


def right_by_gauss(losses: Values) -> Values:
    """(N,) the posterior of the component of small losses; 0 where the loss is unknown (NaN)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    known = ~np.isnan(losses)
    x = losses[known]
    x = ((x - x.min()) / max(np.ptp(x), 1e-12))[:, None]
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ten rounds are what is asked for
        mixture.fit(x)
    found = np.zeros(len(losses))
    found[known] = mixture.predict_proba(x)[:, mixture.means_.argmin()]
    return found


def _densities(x: Values, parameters: Values) -> Values:
    """(2, N) weighted densities of the two components."""
    out = []
    for alpha, beta, weight in parameters.reshape(2, 3).tolist():
        scale = lgamma(alpha + beta) - lgamma(alpha) - lgamma(beta)
        logs = scale + (alpha - 1) * np.log(x) + (beta - 1) * np.log1p(-x)
        out.append(weight * np.exp(logs) + 1e-12)
    return np.stack(out)


def _moments(x: Values, weight: Values) -> Values:
    """α, β and share of a component, by weighted mean and variance."""
    mean = float(np.average(x, weights=weight))
    variance = max(float(np.average((x - mean) ** 2, weights=weight)), 1e-12)
    alpha = max(mean * (mean * (1 - mean) / variance - 1), 1e-3)
    return np.array([alpha, alpha * (1 - mean) / mean, weight.mean()])


def on_device(values: Values, device: torch.device) -> Tensor:
    """As float32."""
    return torch.from_numpy(values.astype(np.float32)).to(device)
