"""Folds: equal shares of each class, and no copy in another fold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as property_
from hypothesis import settings
from hypothesis import strategies as st

from reteach.errors import UserError
from reteach.relabel.noise.folds import stratified_folds


def counts(labels: np.ndarray, fold: np.ndarray, folds: int) -> np.ndarray:
    """(C, K)."""
    out = np.zeros((labels.max() + 1, folds), int)
    np.add.at(out, (labels, fold), 1)
    return out


@property_(st.lists(st.integers(0, 4), min_size=12, max_size=80), st.integers(2, 10))
@settings(max_examples=60, deadline=None)
def test_without_copies_folds_are_equal_to_within_one(labels, folds):
    given = np.array(labels)
    fold = stratified_folds(given, np.arange(len(given)), folds, seed=1)
    found = counts(given, fold, folds)
    assert (found.max(1) - found.min(1) <= 1).all()
    assert np.ptp(found.sum(0)) <= 1


@property_(st.integers(0, 1000), st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_groups_are_never_torn(seed, folds):
    generator = np.random.default_rng(seed)
    labels, groups = generator.integers(0, 3, 90), generator.integers(0, 40, 90)
    fold = stratified_folds(labels, groups, folds, seed)
    assert all(len(set(fold[groups == group])) == 1 for group in set(groups.tolist()))
    assert fold.min() >= 0
    assert fold.max() < folds


def test_single_images_make_up_for_groups():
    labels = np.zeros(100, np.int64)
    groups = np.concatenate([np.zeros(10, np.int64), np.arange(1, 91)])
    fold = stratified_folds(labels, groups, 5, seed=0)
    assert np.bincount(fold).tolist() == [20] * 5


def test_folds_depend_on_the_seed_alone():
    labels = np.random.default_rng(0).integers(0, 3, 60)
    first, again, other = (stratified_folds(labels, np.arange(60), 5, s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(("folds", "words"), [(1, "at least 2"), (4, "4 different images, got 3")])
def test_impossible_folds_are_refused(folds, words):
    with pytest.raises(UserError, match=words):
        stratified_folds(np.zeros(6, np.int64), np.array([0, 0, 1, 1, 2, 2]), folds, 0)
