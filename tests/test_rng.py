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


def test_a_keyed_permutation_is_one_for_every_length():
    for n in [*range(1, 501), 4096, 10_007]:
        found = rng.permuted(rng.fold(n), n, np.arange(n))
        assert np.array_equal(np.sort(found), np.arange(n)), n
    whole = rng.permuted(5, 10_007, np.arange(10_007))
    some = np.array([9_999, 3, 500, 3])
    assert np.array_equal(rng.permuted(5, 10_007, some), whole[some]), "place by place"
    assert (whole != rng.permuted(6, 10_007, np.arange(10_007))).mean() > 0.99


def test_a_keyed_permutation_is_uniform():
    """Over keys, every place gets every value about equally often, and neighbours are unrelated."""
    n, keys = 20, 4000
    found = np.stack([rng.permuted(key, n, np.arange(n)) for key in range(keys)])
    counts = np.stack([np.bincount(found[:, place], minlength=n) for place in range(n)])
    expected = keys / n
    chi = ((counts - expected) ** 2 / expected).sum()
    assert chi < (n - 1) ** 2 + 5 * (2 * (n - 1) ** 2) ** 0.5
    big = rng.permuted(1, 10**12 + 39, np.arange(200_000)) / 1e12
    bins = np.histogram(big, bins=20, range=(0, 1))[0]
    assert np.abs(bins - 10_000).max() < 5 * 10_000**0.5
    assert abs(np.corrcoef(big[:-1], big[1:])[0, 1]) < 0.02
