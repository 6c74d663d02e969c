"""Scores beside experts' probabilities: against slow loops, and what doubt costs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reteach.analysis.expert_doubt import LEAST, Spread, agreement, is_sure, levels, reliability

P = np.random.default_rng(0).choice([0, 1 / 3, 2 / 3, 1], 200)
S = np.random.default_rng(1).random(200).astype(np.float32)


def test_numbers_against_loops():
    found = agreement(S, P)
    pairs = [(float(s), float(p)) for s, p in zip(S, P, strict=True)]
    sure = [(s, p) for s, p in pairs if p in (0, 1)]
    assert found.accuracy == pytest.approx(sum((s >= 0.5) == (p == 1) for s, p in sure) / len(sure))
    wins = [(a > b) + (a == b) / 2 for a, p in sure if p == 1 for b, q in sure if q == 0]
    assert found.auc == pytest.approx(sum(wins) / len(wins))
    assert found.brier == pytest.approx(sum((s - p) ** 2 for s, p in pairs) / len(pairs))
    loss = [-p * math.log(s) - (1 - p) * math.log(1 - s) for s, p in pairs]
    assert found.log_loss == pytest.approx(sum(loss) / len(pairs))
    error = 0.0
    for b in range(10):
        inside = [(s, p) for s, p in pairs if min(int(s * 10), 9) == b]
        error += abs(sum(p - s for s, p in inside)) / len(pairs)
    assert found.calibration_error == pytest.approx(error)
    for level, mean in zip(levels(P), found.mean_scores, strict=True):
        assert mean == pytest.approx(np.mean([s for s, p in pairs if p == level]))


def test_only_the_experts_own_probabilities_are_the_best_scores():
    """Brier score and log loss are proper: the likelier class scores worse than the doubt itself."""
    doubt, hard = agreement(P, P), agreement((P >= 0.5).astype(float), P)
    assert doubt.brier == doubt.calibration_error == 0
    assert doubt.log_loss < hard.log_loss
    assert hard.brier == pytest.approx(((~is_sure(P)).mean()) / 9)
    assert np.isfinite(agreement(1 - P, P).log_loss)
    assert agreement(1 - P, P).log_loss < -math.log(LEAST)


def test_reliability_is_the_experts_mean_in_each_bin():
    found = reliability(S, P)
    assert found.count.sum() == len(P)
    inside = (S >= 0.3) & (S < 0.4)
    assert found.frequency[3] == pytest.approx(P[inside].mean())
    assert found.confidence[3] == pytest.approx(S[inside].mean())


def test_one_class_alone_has_no_auc():
    found = agreement(np.array([0.2, 0.7]), np.array([0.0, 1 / 3]))
    assert math.isnan(found.auc)
    assert found.accuracy == 1
    assert math.isnan(agreement(np.array([0.2]), np.array([1 / 3])).accuracy)


def test_spread_of_a_sample():
    assert Spread.of([1.0, 3.0]).deviation == pytest.approx(2**0.5)
    assert Spread.of([1.0]).deviation == 0
