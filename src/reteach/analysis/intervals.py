"""Intervals for shares and for whatever is computed from images."""

from __future__ import annotations

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


def ratio_by_group(
    hits: ArrayLike, n: ArrayLike, group: NDArray[np.int64], level: float = 0.95
) -> tuple[float, float]:
    """Interval of the share Σ hits / Σ n where whole groups (images) were sampled; (0, 1) for n = 0.

    The entries of one image are not independent. Their effective number is p (1 − p) / var(p), with
    the linearised variance of a ratio over groups, and the interval is Clopper and Pearson's for that
    many (Korn and Graubard, Survey Methodology 24, 1998). A share of 0 or 1 has no variance: it counts
    as one entry per group, so that the interval never collapses.

    Args:
        hits, n: (P,) weights of the entries, hits ≤ n.
        group: (P,) the group that each entry belongs to.
    """
    from scipy.special import betaincinv  # scipy.stats has the same, and costs a second to load

    _, index = np.unique(group, return_inverse=True)
    hits = np.bincount(index, np.asarray(hits, np.float64))
    n = np.bincount(index, np.asarray(n, np.float64))
    total, groups = n.sum(), int((n > 0).sum())
    if total == 0:
        return 0.0, 1.0
    p = hits.sum() / total
    spread = float(((hits - p * n) ** 2).sum()) * groups / max(groups - 1, 1) / total**2
    certain = not 0 < p < 1 or spread == 0
    size = float(groups) if certain else min(p * (1 - p) / spread, total)
    yes, no, tail = p * size, (1 - p) * size, (1 - level) / 2
    low = betaincinv(yes, no + 1, tail) if yes > 0 else 0.0
    high = betaincinv(yes + 1, no, 1 - tail) if no > 0 else 1.0
    return float(low), float(high)
