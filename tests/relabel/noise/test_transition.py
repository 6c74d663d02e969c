"""Noise: exact numbers per class, seeds, and the estimate against noise that was made."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reteach.errors import UserError
from reteach.labels import Single
from reteach.relabel.noise import transition as noise

SIZES = (101, 40, 7, 60)


def labels(sizes=SIZES, seed=0):
    index = np.repeat(np.arange(len(sizes)), sizes)
    return Single(np.random.default_rng(seed).permutation(index), tuple("abcdef"[: len(sizes)]))


def confusion(true, noisy):
    out = np.zeros((true.num_classes,) * 2)
    np.add.at(out, (true.index, noisy.index), 1)
    return out


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.45, 1.0])
@pytest.mark.parametrize("kind", ["symmetric", "keep", "pair"])
def test_every_class_has_the_exact_share(kind, rate):
    made = {
        "symmetric": noise.symmetric(4, rate),
        "keep": noise.symmetric(4, rate, keep=True),
        "pair": noise.pair(4, rate),
    }[kind]
    clean = labels()
    found = confusion(clean, noise.by_matrix(clean, made, seed=1))
    assert (abs(found - made * np.array(SIZES)[:, None]) < 1).all()
    expected = {"symmetric": 1 - rate, "keep": 1 - rate + rate / 4, "pair": 1 - rate}[kind]
    assert np.allclose(np.diag(made), expected)
    if kind == "pair":
        assert all(made[c, (c + 1) % 4] == pytest.approx(rate) for c in range(4))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=3, max_size=3),
    st.integers(0, 50),
)
def test_any_matrix_is_met_to_within_one_item(rows, n):
    matrix = np.array(rows) + 1e-3
    matrix /= matrix.sum(1, keepdims=True)
    clean = labels((n, 2 * n, 1))
    found = confusion(clean, noise.by_matrix(clean, matrix, seed=0))
    assert (abs(found - matrix * np.array([n, 2 * n, 1])[:, None]) <= 1 + 1e-6).all()


def test_seeds_choose_which_and_never_how_many():
    clean, matrix = labels(), noise.symmetric(4, 0.3)
    first, again, other = (noise.by_matrix(clean, matrix, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.index, again.index)
    assert not np.array_equal(first.index, other.index)
    changed = [[int((n.index != clean.index)[clean.index == c].sum()) for c in range(4)]
               for n in (first, other)]  # fmt: skip
    assert changed[0] == changed[1] == [round(0.3 * size) for size in SIZES]


def test_unlabelled_items_stay_unlabelled():
    index = labels().index.copy()
    index[::5] = -1
    clean = Single(index, tuple("abcd"))
    features = np.random.default_rng(0).normal(size=(len(clean), 5))
    for noisy in (
        noise.by_matrix(clean, noise.pair(4, 1.0), 0),
        noise.by_instance(clean, features, 1.0, 0),
    ):
        assert np.array_equal(noisy.index == -1, index == -1)
        assert (noisy.index != index)[index >= 0].all()


def test_noise_by_instance_mistakes_alike_what_looks_alike():
    generator = np.random.default_rng(0)
    clean = Single(np.zeros(2000, np.int64), tuple("abcd"))
    side = generator.integers(0, 2, 2000)
    features = generator.normal(size=(2000, 6)) * 0.01 + side[:, None] * np.ones(6)
    noisy = noise.by_instance(clean, features, 0.4, seed=3)
    assert (noisy.index != 0).sum() == 800
    wrong = noisy.index != 0
    rows = [np.bincount(noisy.index[wrong & (side == s)], minlength=4)[1:] for s in (0, 1)]
    shares = [row / row.sum() for row in rows]
    assert abs(shares[0] - shares[1]).max() > 0.2  # the two kinds of images go to other classes
    assert np.array_equal(noisy.index, noise.by_instance(clean, features, 0.4, seed=3).index)


def test_the_estimate_finds_the_noise_that_was_made():
    generator = np.random.default_rng(0)
    clean = labels((800, 800, 800, 800))
    made = np.array([[0.7, 0.3, 0, 0], [0, 0.8, 0.2, 0], [0, 0, 1, 0], [0.1, 0.1, 0.1, 0.7]])
    noisy = noise.by_matrix(clean, made, seed=0)
    sharp = np.eye(4)[clean.index] * 3 + generator.normal(size=(3200, 4)) * 0.5
    scores = np.exp(sharp) / np.exp(sharp).sum(1, keepdims=True)
    found = noise.estimated(noisy, scores)
    assert np.allclose(found.sum(1), 1)
    # an item must reach its class's mean score, so classes called otherwise are found too rarely
    assert abs(found - made).max() < 0.12
    assert (found[made == 0] < 0.01).all()


def test_the_estimate_against_literal_loops():
    generator = np.random.default_rng(1)
    noisy = Single(generator.integers(0, 3, 60), tuple("abc"))
    scores = generator.dirichlet(np.ones(3), 60)
    thresholds = [scores[noisy.index == c, c].mean() for c in range(3)]
    joint = np.zeros((3, 3))
    for label, p in zip(noisy.index, scores, strict=True):
        able = [c for c in range(3) if p[c] >= thresholds[c]]
        if able:
            joint[label, max(able, key=lambda c: p[c])] += 1
    for c in range(3):
        joint[c] *= (noisy.index == c).sum() / joint[c].sum()
    assert np.allclose(noise.estimated(noisy, scores), (joint / joint.sum(0)).T)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: noise.symmetric(3, 1.2), r"must lie in \[0, 1\], got 1.2"),
        (lambda: noise.pair(3, -0.1), r"must lie in \[0, 1\], got -0.1"),
        (lambda: noise.pair(1, 0.5), "with one class there is no other label"),
        (lambda: noise.by_matrix(labels(), np.eye(3), 0), "4×4, got 3×3"),
        (lambda: noise.by_matrix(labels(), 2 * np.eye(4), 0), "the row of 'a' is not shares"),
        (lambda: noise.by_matrix(labels(), np.full((4, 4), np.nan), 0), "the row of 'a'"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(UserError, match=message):
        make()
