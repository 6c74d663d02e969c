"""Randomness as a function: every random choice is derived from named parts, none from a history.

Batch order, augmentation, dropout and flips are functions of (seed, stage, step), so that stopping,
resuming, more workers or more processes change nothing.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def fold(*parts: int | str) -> int:
    """A 63-bit seed from any number of parts; different parts give unrelated seeds."""
    data = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


def hashed(key: int, positions: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 random bits for each position (splitmix64 of key + position), vectorised."""
    z = np.array(positions, np.uint64, ndmin=1)  # arrays wrap around without a warning
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return z


def seeds(key: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """A seed in [0, 2⁶³) for each position."""
    return (hashed(key, positions) >> np.uint64(1)).astype(np.int64)


def uniform(key: int, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in [0, 1) for each position."""
    return np.asarray((hashed(key, positions) >> np.uint64(11)) * 2.0**-53)
