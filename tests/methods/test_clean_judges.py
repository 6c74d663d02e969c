"""The judges of features beside a network, against literal versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from reteach.methods import clean_judges as judges
from reteach.methods import elr


def features(seed: int = 0, n: int = 120, width: int = 8, classes: int = 3):
    generator = np.random.default_rng(seed)
    y = generator.integers(0, classes, n)
    x = generator.normal(size=(n, width)) + 2 * generator.normal(size=(classes, width))[y]
    return x.astype(np.float32), y


def test_the_discriminant_is_the_shrunk_one_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(judges, "ROUNDS", 0)
    x, y = features()
    scaled = (x - x[:90].mean(0)) / x[:90].std(0)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=judges.SHRINKAGE)
    theirs = model.fit(scaled[:90], y[:90]).predict_proba(scaled[90:])
    ours = judges.discriminant(x[:90], y[:90], x[90:], 3)
    # theirs standardises within each class before it shrinks; ours all features at once
    np.testing.assert_array_equal(ours.argmax(1), theirs.argmax(1))
    assert np.abs(ours - theirs).mean() < 0.02
    np.testing.assert_allclose(ours.sum(1), 1, atol=1e-5)


def test_softened_labels_find_the_true_class_of_more_images():
    """Of noisy labels the softened discriminant learns more than the plain one."""
    right = {0: 0.0, judges.ROUNDS: 0.0}
    for seed in range(4):
        x, true = features(seed, 900, 40, 5)
        x += np.random.default_rng(seed).normal(0, 4, x.shape)
        generator = np.random.default_rng(seed + 10)
        y = np.where(generator.random(900) < 0.4, (true + 1) % 5, true)
        for rounds in right:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(judges, "ROUNDS", rounds)
                found = judges.discriminant(x[:600], y[:600], x[600:], 5).argmax(1)
            right[rounds] += np.mean(found == true[600:]) / 4
    assert right[judges.ROUNDS] > right[0]


def test_neighbours_vote_by_their_cosines():
    x, y = features(1)
    found = judges.neighbours(x[:100], y[:100], x[100:], 3)
    for row, z in zip(found, x[100:].astype(np.float64), strict=True):
        cosines = [float(z @ a / np.linalg.norm(z) / np.linalg.norm(a)) for a in x[:100]]
        nearest = sorted(range(100), key=lambda i: -cosines[i])[: judges.VOTERS]
        heavy = {i: math.exp(cosines[i] / judges.WARMTH) for i in nearest}
        votes = [1e-3 + sum(w for i, w in heavy.items() if y[i] == c) / sum(heavy.values())
                 for c in range(3)]  # fmt: skip
        np.testing.assert_allclose(row, np.array(votes) / sum(votes), atol=2e-4)


@pytest.mark.parametrize("judge", [*judges.JUDGES, judges.early_learning_of(elr.train)])
def test_a_class_without_images_and_constant_features_are_no_trouble(judge):
    x, y = features(2)
    x[:, 3] = 5
    found = judge(x, y, x[:7], 4)
    assert found.shape == (7, 4)
    assert np.isfinite(found).all()
    assert found[:, 3].max() < 0.01


def test_judges_are_pooled_by_the_geometric_mean():
    """One judge that is sure a class is out counts, however little the others say."""
    sure, vague = np.array([[0.001, 0.999]], np.float32), np.array([[0.6, 0.4]], np.float32)
    found = judges.pooled([sure, vague, vague])
    product = [
        math.prod(float(each[0, c]) for each in (sure, vague, vague)) ** (1 / 3) for c in (0, 1)
    ]
    np.testing.assert_allclose(found[0], np.array(product) / sum(product), rtol=1e-5)
    assert np.mean([sure, vague, vague], axis=0)[0, 0] > 0.4 > 0.2 > found[0, 0]


def test_early_learning_holds_wrong_labels_back():
    """Of images it learned from under wrong labels its first choice is more often right than wrong."""
    x, true = features(5, 600, 40, 5)
    y = np.where(np.random.default_rng(1).random(600) < 0.4, (true + 1) % 5, true)
    found = judges.early_learning_of(elr.train)(x[:400], y[:400], x, 5)
    assert np.mean(found[400:].argmax(1) == true[400:]) > 0.9
    again = judges.early_learning_of(elr.train)(x[:400], y[:400], x, 5)
    np.testing.assert_array_equal(found, again)
