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
    with np.errstate(over="ignore"):
        z = positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))


def seeds(key: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """A seed in [0, 2⁶³) for each position."""
    return (hashed(key, positions) >> np.uint64(1)).astype(np.int64)


def uniform(key: int, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in [0, 1) for each position."""
    return np.asarray((hashed(key, positions) >> np.uint64(11)) * 2.0**-53)
