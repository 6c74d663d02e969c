"""Keep-rules and noise estimates against literal loops, limit cases and known truth."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given as property_
from hypothesis import settings
from hypothesis import strategies as st

from reteach.relabel.noise import clean
from weak_models import one_hot, world

RULES = get_args(clean.Rule)


def literal_confident(scores: np.ndarray, given: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Northcutt et al. 2021, Eq. 1-2 and the calibration of Eq. 3, item by item in float64."""
    n, width = scores.shape
    thresholds = []
    for j in range(width):
        own = [float(scores[i, j]) for i in range(n) if given[i] == j]
        thresholds.append(sum(own) / len(own) if own else math.inf)
    found = []
    counts = np.zeros((width, width))
    for i in range(n):
        reached = [j for j in range(width) if scores[i, j] >= thresholds[j] - 1e-6]
        found.append(max(reached, key=lambda j: scores[i, j]) if reached else -1)
        if reached:
            counts[given[i], found[-1]] += 1
    joint = np.zeros((width, width))
    for i in range(width):
        if not counts[i].sum():
            counts[i, i] = 1
        joint[i] = counts[i] / counts[i].sum() * (given == i).sum() / n
    return found, joint


@property_(st.integers(0, 10_000), st.integers(2, 7), st.floats(0, 0.6))
@settings(max_examples=30, deadline=None)
def test_confident_learning_equals_the_literal_version(seed, width, noise):
    scores, given, _ = world(seed, 60, width, noise, sharp=1.5)
    found, joint = literal_confident(scores, given)
    assert clean.confident_class(scores, clean.class_thresholds(scores, given)).tolist() == found
    np.testing.assert_allclose(clean.joint(scores, given), joint, atol=1e-12)
    keep = clean.unchallenged(scores, given)
    assert keep.tolist() == [f in (-1, g) for f, g in zip(found, given.tolist(), strict=True)]


def test_blocks_do_not_change_the_result(monkeypatch):
    scores, given, _ = world(0)
    whole = [clean.keep_rule(rule, scores, given) for rule in RULES], clean.suspicion(scores, given)
    monkeypatch.setattr(clean, "_BLOCK", 35)  # seven rows at a time
    parts = [clean.keep_rule(rule, scores, given) for rule in RULES], clean.suspicion(scores, given)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_array_equal(whole[1], parts[1])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.4])
def test_a_perfect_model_keeps_exactly_the_right_rows(rule, noise):
    _, given, true = world(1, noise=noise)
    keep = clean.keep_rule(rule, one_hot(true, 5), given)
    np.testing.assert_array_equal(keep, given == true)
    found = clean.detection(keep, given != true)
    assert (found.precision, found.recall, found.f1) == (1, 1, 1)
    assert clean.estimated_noise(one_hot(true, 5), given) == pytest.approx(np.mean(given != true))


def test_the_papers_rule_is_the_first_choice():
    scores = np.array([[0.4, 0.6], [0.6, 0.4], [0.5, 0.5]], np.float32)
    assert clean.agreeing(scores, np.array([1, 1, 0])).tolist() == [True, False, True]


def test_the_paper_rule_empties_a_class_that_the_model_cannot_see_and_thresholds_do_not():
    scores = np.tile(np.array([[0.6, 0.4]], np.float32), (10, 1))
    given = np.array([0] * 5 + [1] * 5)
    assert clean.agreeing(scores, given).tolist() == [True] * 5 + [False] * 5
    scores[5:] = [0.55, 0.45]  # class 0 scores less here than on its own images
    assert clean.unchallenged(scores, given).all()


def test_the_confidence_rule_drops_the_lowest_scores():
    scores, given, _ = world(2)
    keep = clean.most_confident(scores, given, 0.7)
    assert keep.sum() == 280
    own = clean.self_confidence(scores, given)
    assert own[~keep].max() <= own[keep].min()
    removed = 1 - clean.keep_rule("confidence", scores, given).mean()
    assert removed == pytest.approx(clean.estimated_noise(scores, given), abs=1 / 400)


def test_the_ratio_rule_drops_what_another_class_beats_most():
    scores, given, true = world(2, 3000, 10, noise=0.2, sharp=2.5)
    keep = clean.keep_rule("ratio", scores, given)
    factor = np.array([
        max(float(s) for j, s in enumerate(row) if j != g) / float(row[g])
        for row, g in zip(scores, given.tolist(), strict=True)
    ])  # fmt: skip
    assert factor[~keep].min() >= factor[keep].max() * (1 - 1e-5)
    _, joint = literal_confident(scores, given)
    confident = 1 - np.trace(joint)
    contradicted = np.mean(scores.argmax(1) != given)
    share = confident * min(1, confident / contradicted) ** 2
    assert (~keep).sum() == 3000 - round((1 - share) * 3000)
    wrong = given != true
    found, paper = (clean.detection(k, wrong) for k in (keep, clean.agreeing(scores, given)))
    assert found.f1 > paper.f1


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.4])
def test_a_good_model_gives_a_good_estimate(noise):
    scores, given, true = world(3, 4000, noise=noise, sharp=6.0)
    assert clean.estimated_noise(scores, given) == pytest.approx(np.mean(given != true), abs=0.03)


def test_detection_counts():
    keep = np.array([True, False, False, True, False])
    wrong = np.array([True, True, False, False, True])
    found = clean.detection(keep, wrong)
    assert (found.precision, found.recall) == (2 / 3, 2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    assert clean.detection(np.ones(3, bool), np.zeros(3, bool)).f1 == 1
    assert clean.detection(np.ones(3, bool), np.ones(3, bool)).recall == 0


def test_suspects_come_in_order_of_doubt():
    scores, given, _ = world(5)
    keep = clean.agreeing(scores, given)
    literal = [
        max(float(s) for j, s in enumerate(row) if j != g) - float(row[g])
        for row, g in zip(scores, given.tolist(), strict=True)
    ]
    np.testing.assert_allclose(clean.suspicion(scores, given), literal, atol=1e-7)
    np.testing.assert_array_equal(np.array(literal) > 0, ~keep)
    rows = clean.ranked(scores, given, keep)
    assert sorted(rows.tolist()) == np.flatnonzero(~keep).tolist()
    assert (np.diff(np.array(literal)[rows]) <= 1e-7).all()


def test_the_same_wrong_labels_as_cleanlab():
    cleanlab = pytest.importorskip("cleanlab.filter", reason="cleanlab is not installed")
    scores, given, _ = world(6, 3000, sharp=2.0)
    issues = cleanlab.find_label_issues(given, scores, filter_by="confident_learning", n_jobs=1)
    differ = issues == clean.unchallenged(scores, given)
    assert differ.mean() < 0.005  # cleanlab keeps what the model chooses as well; here ties only


def literal_posterior(scores: np.ndarray, given: np.ndarray) -> list[float]:
    """Expectation maximisation item by item: counts of called by true class, Bayes for each image."""
    n, width = scores.shape
    called = [[1.0] * width for _ in range(width)]  # [label][true]

    def posterior(i: int) -> list[float]:
        both = [float(scores[i, j]) * called[given[i]][j] for j in range(width)]
        return [b / sum(both) for b in both]

    for _ in range(clean.ROUNDS):
        counts = [[0.0] * width for _ in range(width)]
        for i in range(n):
            for j, q in enumerate(posterior(i)):
                counts[given[i]][j] += q
        total = [sum(counts[i][j] for i in range(width)) for j in range(width)]
        called = [[counts[i][j] / total[j] for j in range(width)] for i in range(width)]
    return [1 - posterior(i)[given[i]] for i in range(n)]


def test_the_posterior_of_a_wrong_label_equals_the_literal_version(monkeypatch):
    scores, given, _ = world(3, 80, 4, 0.3, sharp=1.5)
    expected = literal_posterior(scores, given)
    np.testing.assert_allclose(clean.likely_wrong(scores, given), expected, rtol=1e-5)
    monkeypatch.setattr(clean, "_BLOCK", 28)
    np.testing.assert_allclose(clean.likely_wrong(scores, given), expected, rtol=1e-5)


def test_the_posterior_speaks_against_a_label_that_a_class_is_often_mistaken_for():
    """Two labels with equal scores: cats are often called dogs, and never ships."""
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, 3000)
    given = np.where((true == 0) & (draw.random(3000) < 0.4), 1, true)
    scores = np.full((3000, 3), 0.1, np.float32)
    scores[np.arange(3000), true] = 0.8
    scores = np.concatenate([scores, np.array([[0.5, 0.4, 0.1], [0.5, 0.1, 0.4]], np.float32)])
    wrong = clean.likely_wrong(scores, np.append(given, [1, 2]))
    assert wrong[-2] > wrong[-1] + 0.2
    assert clean.outdone(scores, np.append(given, [1, 2]))[-2:].tolist() == pytest.approx(
        [0.223] * 2, abs=1e-3
    )
