"""Logistic regression with cross-validation against scikit-learn's own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.preprocessing import StandardScaler

from reteach.analysis.regression import logistic
from reteach.relabel.noise.folds import stratified_folds

GRID = (0.001, 0.01, 0.1, 1.0)


def quiet(done: int, words: str = "") -> None:
    told.append(done)


told: list[int] = []


def world(classes: int, n: int = 150, width: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy clusters with features of very different scales, and folds."""
    generator = np.random.default_rng(classes)
    y = generator.integers(0, classes, n)
    centres = generator.normal(size=(classes, width))
    x = centres[y] + 2.5 * generator.normal(size=(n, width))
    x = x * 10.0 ** generator.uniform(-2, 2, width) + 5
    return x, y, stratified_folds(y, np.arange(n), 3, seed=0)


@pytest.mark.parametrize("classes", [2, 4])
def test_scikit_learn_chooses_and_fits_the_same(classes):
    x, y, fold = world(classes)
    told.clear()
    found = logistic(x, y, classes, fold, quiet, GRID)
    assert told == list(range(1, 14))
    for strength in GRID:
        right = 0
        for number in range(3):
            scaler = StandardScaler().fit(x[fold != number])
            model = LogisticRegression(C=strength, max_iter=2000, tol=1e-8)
            model.fit(scaler.transform(x[fold != number]), y[fold != number])
            held = fold == number
            right += (model.predict(scaler.transform(x[held])) == y[held]).sum()
        assert found.accuracy[strength] == pytest.approx(right / len(y), abs=1.5 / len(y))
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=found.strength, max_iter=2000, tol=1e-8).fit(
        scaler.transform(x), y
    )
    wanted = model.predict_log_proba(scaler.transform(x))
    logits = found.logits(x)
    got = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    np.testing.assert_allclose(got - logits.max(1, keepdims=True), wanted, atol=0.02)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_choice_is_that_of_logistic_regression_cv():
    x, y, fold = world(4)
    x = (x - x.mean(0)) / x.std(0)
    found = logistic(x, y, 4, fold, quiet, GRID)
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]
    other = LogisticRegressionCV(Cs=GRID, cv=splits, max_iter=2000, scoring="accuracy").fit(x, y)
    assert found.strength == np.ravel(other.C_)[0]


def test_a_class_that_no_image_has_is_never_predicted():
    x, y, fold = world(4)
    found = logistic(x, np.where(y == 2, 1, y), 4, fold, quiet, GRID)
    assert found.weight.shape == (4, 30)
    assert not (found.logits(x).argmax(-1) == 2).any()
    assert np.isfinite(found.bias).all()
