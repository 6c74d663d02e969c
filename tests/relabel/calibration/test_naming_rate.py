"""Presence from the rate of being named: against scikit-learn, loops, and a world with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reteach.relabel.calibration.logit_histogram import NAMED, UNNAMED, LogitHistogram
from reteach.relabel.calibration.naming_rate import naming_rate
from reteach.relabel.calibration.presence import calibrate


def vague(n: int = 3000, classes: int = 12, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Unsure log-odds of being named that are right, one class of each set drawn, and the sets."""
    draw = np.random.default_rng(seed)
    logit = draw.normal(-1.3, 0.7, (n, classes))
    truth = draw.random((n, classes)) < 1 / (1 + np.exp(-logit))
    truth[np.arange(n), logit.argmax(1)] |= ~truth.any(1)
    named = np.array([draw.choice(np.flatnonzero(row)) for row in truth])
    rate = np.clip(1 / (1 + np.exp(-logit)) / truth.sum(1).mean(), 1e-4, 0.99)
    return np.log(rate / (1 - rate)).astype(np.float32), named, truth


def histogram_of(z: np.ndarray, named: np.ndarray) -> LogitHistogram:
    found = LogitHistogram(tuple(f"c{i}" for i in range(z.shape[1])))
    found.add(z, named)
    return found


def mean_f1(sets: np.ndarray, truth: np.ndarray) -> float:
    return float(
        np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(sets, truth, strict=True)])
    )


def test_the_rate_is_scikit_learns_logistic_regression_and_the_sum_is_what_was_given():
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(1)
    z = np.linspace(-6, 2, 40)
    seen = draw.integers(20, 200, 40)
    hits = draw.binomial(seen, 1 / (1 + np.exp(-(0.6 * z - 1.1))))
    counts = np.zeros((3, 40))
    counts[NAMED], counts[UNNAMED] = hits, seen - hits
    found = naming_rate(z, counts, 2.5 * hits.sum())
    x = np.repeat(np.r_[z, z], np.r_[hits, seen - hits])[:, None]
    y = np.repeat([1, 0], [hits.sum(), (seen - hits).sum()])
    peer = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(x, y)
    assert found.slope == pytest.approx(float(peer.coef_[0, 0]), rel=1e-3)
    assert found.offset == pytest.approx(float(peer.intercept_[0]), rel=1e-3)
    total = 0.0
    for value, count in zip(z.tolist(), seen.tolist(), strict=True):
        p = found.factor / (1 + math.exp(-(found.slope * value + found.offset)))
        total += count * min(1.0, p)
    assert total == pytest.approx(2.5 * hits.sum(), rel=1e-6)


def test_scores_that_say_the_opposite_do_not_turn_the_order_around():
    z = np.linspace(-3, 3, 13)
    counts = np.zeros((3, 13))
    counts[NAMED], counts[UNNAMED] = np.linspace(30, 1, 13), 50.0
    found = naming_rate(z, counts, counts.sum() * 0.4)
    assert (np.diff(found(z)) > 0).all()
    assert (counts.sum(0) * found(z)).sum() == pytest.approx(counts.sum() * 0.4)


def test_of_unsure_scores_a_given_number_of_labels_makes_probabilities_that_are_right():
    z, named, truth = vague()
    k = truth.sum(1).mean()
    found = calibrate(histogram_of(z, named), "sigmoid", expected=k)
    assert found.rate is not None
    assert any("given decide" in warning for warning in found.warnings)
    assert found.labels_per_image == pytest.approx(k, rel=0.02)
    assert found.half == 0.5
    p = found.presence(torch.from_numpy(z)).sigmoid().numpy()
    for low in np.arange(0, 0.8, 0.1):
        mine = (p >= low) & (p < low + 0.1)
        assert truth[mine].mean() == pytest.approx(p[mine].mean(), abs=0.06)


def test_as_many_labels_pass_the_half_as_were_given_and_the_odds_keep_one_factor():
    z, named, truth = vague(seed=2)
    k = truth.sum(1).mean()
    plain = calibrate(histogram_of(z, named), "sigmoid", expected=k)
    found = calibrate(histogram_of(z, named), "sigmoid", expected=k, half="count")
    score = found.presence(torch.from_numpy(z))
    assert found.predicted == pytest.approx(k, rel=0.02)
    assert float((score > 0).sum(1).float().mean()) == pytest.approx(k, rel=0.02)
    assert found.labels_per_image == pytest.approx(plain.labels_per_image)
    moved = score - plain.presence(torch.from_numpy(z))
    assert float(moved.min()) == pytest.approx(float(moved.max()), abs=1e-4)
    assert float(moved.mean()) == pytest.approx(-math.log(found.half / (1 - found.half)), abs=1e-3)
    cut, shy = score.numpy() > 0, plain.presence(torch.from_numpy(z)).numpy() > 0
    assert mean_f1(shy, truth) < 0.3  # hardly any class is more likely present than not
    assert mean_f1(cut, truth) > 0.37


def test_scores_that_tell_present_from_absent_keep_the_mixture():
    draw = np.random.default_rng(3)
    truth = draw.random((1500, 8)) < 0.3
    truth[~truth.any(1), 0] = True
    z = np.where(truth, draw.normal(-1, 1, truth.shape), draw.normal(-6, 1, truth.shape))
    named = np.array([draw.choice(np.flatnonzero(row)) for row in truth])
    k = truth.sum(1).mean()
    found = calibrate(
        histogram_of(z.astype(np.float32), named), "sigmoid", expected=k, half="count"
    )
    assert found.rate is None
    assert not found.warnings
    assert found.predicted == pytest.approx(k, rel=0.02)
    assert found.half == pytest.approx(0.5, abs=0.2)
