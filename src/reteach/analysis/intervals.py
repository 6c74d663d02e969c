"""Intervals for shares and for whatever is computed from images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

Z95 = 1.959963984540054  # standard normal quantile at 0.975


def wilson(hits: ArrayLike, n: ArrayLike, z: float = Z95) -> tuple[Floats, Floats]:
    """Lower and upper end of Wilson's score interval of shares (Wilson, 1927); (0, 1) for n = 0.

    Args:
        hits, n: arrays of one shape; expected counts need not be whole numbers.
        z: standard normal quantile; the default is for 95%.
    """
    hits, n = np.asarray(hits, np.float64), np.asarray(n, np.float64)
    safe = np.where(n > 0, n, 1.0)
    p = hits / safe
    middle = (p + z * z / (2 * safe)) / (1 + z * z / safe)
    half = z / (1 + z * z / safe) * np.sqrt(p * (1 - p) / safe + (z / (2 * safe)) ** 2)
    low = np.where(n > 0, np.maximum(middle - half, 0), 0.0)
    high = np.where(n > 0, np.minimum(middle + half, 1), 1.0)
    return low, high


def bootstrap(
    group: NDArray[np.int64],
    statistic: Callable[[Floats], Floats],
    *,
    rounds: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Floats, Floats]:
    """Percentile interval when whole groups (images) are drawn with replacement.

    The entries of one image are not independent, so resampling entries would be too sure.

    Args:
        group: (P,) the group that each entry belongs to.
        statistic: from (P,) weights, how often each entry was drawn, to an array of numbers;
            rounds in which one of them is NaN do not count for it.
    """
    rng = np.random.default_rng(seed)
    _, index = np.unique(group, return_inverse=True)
    n = int(index.max()) + 1
    drawn = np.stack(
        [
            statistic(np.bincount(rng.integers(n, size=n), minlength=n)[index].astype(np.float64))
            for _ in range(rounds)
        ]
    )
    tail = (1 - level) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    return np.asarray(low), np.asarray(high)
