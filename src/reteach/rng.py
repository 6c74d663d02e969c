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


def hashed(key: int, positions: NDArray[np.int64] | NDArray[np.uint64]) -> NDArray[np.uint64]:
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


_ROUNDS = 12


def permuted(key: int, n: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where a permutation of [0, n) that is a function of ``key`` sends each of ``positions``.

    Nothing of size n is made: a Feistel network shuffles the next power of two, and whoever lands outside
    walks on along its cycle until it is inside (Black and Rogaway, "Ciphers with arbitrary finite domains",
    2002), which takes fewer than two steps on average.

    Args:
        positions: (M,) in [0, n).
    """
    bits = max(1, (n - 1).bit_length())
    low = np.uint64(bits // 2)
    right, left = (np.uint64((1 << width) - 1) for width in (bits // 2, bits - bits // 2))
    keys = [fold(key, "round", number) for number in range(_ROUNDS)]
    found = np.array(positions, np.uint64, ndmin=1)
    walking = np.arange(len(found))
    while len(walking):
        x = found[walking]
        a, b = x >> low, x & right
        for number, each in enumerate(keys):
            if number % 2:
                b ^= hashed(each, a) & right
            else:
                a ^= hashed(each, b) & left
        found[walking] = x = a << low | b
        walking = walking[x >= np.uint64(n)]
    return found.astype(np.int64)
