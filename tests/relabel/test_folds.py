"""Folds: equal shares of each class, and no copy in another fold."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given as property_
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image

from reteach.errors import UserError
from reteach.relabel.folds import NEAR, SIDE, copies, stratified_folds


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


def fingerprint(image: Image.Image) -> tuple[np.ndarray, bytes]:
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    return small, hashlib.blake2b(image.tobytes()).digest()


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def photo(seed: int) -> Image.Image:
    """Smooth blobs of colour, as different from one another as photos are."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize((96, 96), Image.Resampling.BICUBIC)


def test_recompressed_and_rescaled_images_are_copies_and_others_are_not():
    one, two = photo(1), photo(2)
    smaller = one.resize((64, 64), Image.Resampling.LANCZOS)
    images = [one, two, recompressed(one, 60), smaller, one.copy(), photo(3)]
    thumbnails, digests = zip(*map(fingerprint, images), strict=True)
    assert copies(np.stack(thumbnails), digests).tolist() == [0, 1, 0, 0, 0, 2]


def test_equal_digests_are_copies_whatever_the_thumbnails_say():
    thumbnails = np.stack([np.zeros((8, 8, 1), np.uint8), np.full((8, 8, 1), 255, np.uint8)])
    assert copies(thumbnails, [b"a", b"a"]).tolist() == [0, 0]
    assert copies(thumbnails, [b"a", b"b"]).tolist() == [0, 1]
    assert copies(thumbnails[:1], [b"a"]).tolist() == [0]


def test_near_pairs_equal_all_pairs():
    """The tree in a few directions misses nothing: compare with every pair, chains and all."""
    generator = np.random.default_rng(0)
    base = generator.integers(20, 230, (30, SIDE, SIDE, 3))
    jitter = generator.integers(0, 2, (4, 30, SIDE, SIDE, 3))
    brighter = np.array([0, 2, 4, 9])[:, None, None, None, None]  # a chain of three, and one apart
    thumbnails = (base + jitter + brighter).reshape(-1, SIDE, SIDE, 3).astype(np.uint8)
    flat = thumbnails.reshape(len(thumbnails), -1).astype(float)
    near = ((flat[:, None] - flat[None]) ** 2).mean(-1) <= NEAR**2
    group = list(range(len(flat)))
    for _ in range(len(flat)):  # the smallest reachable row, by relaxation
        group = [min(group[j] for j in np.flatnonzero(near[i])) for i in range(len(flat))]
    assert len(set(group)) == 60, "the chain and the one apart"
    assert not near[0, 60], "the ends of the chain are not near"
    digests = [bytes([i]) for i in range(len(flat))]
    _, expected = np.unique(group, return_inverse=True)
    np.testing.assert_array_equal(copies(thumbnails, digests), expected)
