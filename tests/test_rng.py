"""Derived randomness: the same everywhere, unrelated between parts, uniform."""

from __future__ import annotations

import numpy as np

from reteach import rng


def test_fold_separates_its_parts():
    seeds = {rng.fold(*parts) for parts in [(1, 2), (12,), ("1", 2), (1, "2"), (2, 1), ("12",)]}
    assert len(seeds) == 6
    assert rng.fold(1, "train") == rng.fold(1, "train") == 1391619685149387019


def test_positions_are_independent_of_their_neighbours():
    whole = rng.seeds(7, np.arange(1000))
    assert np.array_equal(whole[300:400], rng.seeds(7, np.arange(300, 400)))
    assert len(np.unique(whole)) == 1000
    assert whole.min() >= 0
    assert not np.intersect1d(whole, rng.seeds(8, np.arange(1000))).size


def test_uniform():
    u = rng.uniform(3, np.arange(100_000))
    counts = np.histogram(u, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 5000).max() < 5 * 5000**0.5
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.02
