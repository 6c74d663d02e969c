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

RULES = get_args(clean.Rule)


def one_hot(labels: np.ndarray, width: int) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[labels]


def world(seed: int, n: int = 400, width: int = 5, noise: float = 0.3, sharp: float = 3.0):
    """(scores, given, true): scores lean to the true class, labels are flipped at a rate."""
    generator = np.random.default_rng(seed)
    true = generator.integers(0, width, n)
    logits = generator.normal(size=(n, width)) + sharp * one_hot(true, width)
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    flipped = (true + generator.integers(1, width, n)) % width
    given = np.where(generator.random(n) < noise, flipped, true)
    return scores.astype(np.float32), given, true


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


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.4])
def test_a_good_model_gives_a_good_estimate(noise):
    scores, given, true = world(3, 4000, noise=noise, sharp=6.0)
    assert clean.estimated_noise(scores, given) == pytest.approx(np.mean(given != true), abs=0.03)


def test_a_weak_model_is_found_out():
    """Right on 60% of the images: the paper's rule drops 45% where a tenth of the labels is wrong."""
    scores, given, true = world(4, 6000, noise=0.1, sharp=1.4)
    assert 0.5 < np.mean(scores.argmax(1) == true) < 0.65
    found = clean.balance(scores, given, clean.agreeing(scores, given))
    assert found.removed > 0.4
    assert found.noise == pytest.approx(0.1, abs=0.06)
    assert found.warning is not None
    assert "gentler rule" in found.warning
    gentle = clean.balance(scores, given, clean.keep_rule("confidence", scores, given))
    assert gentle.warning is None


def blind(seed: int, n: int, share: float, noise: float, width: int = 10):
    """A model that sees a share of the images as some class at random, and is as sure of it."""
    generator = np.random.default_rng(seed)
    _, given, true = world(seed, n, width, noise)
    seen = np.where(generator.random(n) < share, generator.integers(0, width, n), true)
    logits = generator.normal(size=(n, width)) + 6 * one_hot(seen, width)
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return scores.astype(np.float32), given, true


def test_a_weak_model_that_drops_three_quarters_is_warned_of():
    """75% dropped at a precision of 24%, where 20% are wrong: the estimate is as weak as the model."""
    scores, given, true = blind(0, 4000, 0.79, 0.2)
    keep = clean.agreeing(scores, given)
    found, right = clean.balance(scores, given, keep), clean.detection(keep, given != true)
    assert found.removed == pytest.approx(0.755, abs=0.02)
    assert right.precision == pytest.approx(0.246, abs=0.02)
    assert np.mean(given != true) == pytest.approx(0.2, abs=0.02)
    assert found.noise > 0.6, "compared with this estimate alone nothing is wrong"
    assert found.confirmed > found.chance + 0.05
    assert "more than half" in str(found.warning)


@pytest.mark.parametrize("seed", range(3))
def test_more_than_a_lower_bound_of_the_noise_is_warned_of(seed):
    """A third of the labels is dropped, a tenth is wrong, and the estimate is twice too large."""
    scores, given, true = world(seed, 6000, 5, noise=0.02, sharp=1.8)
    keep = clean.agreeing(scores, given)
    found = clean.balance(scores, given, keep)
    assert 0.25 < found.removed < 0.5
    assert clean.detection(keep, given != true).precision < 0.2
    silent = clean.Balance(**{**vars(found), "noise": found.removed})  # whatever the estimate says
    assert "perhaps most of what is dropped is right" in str(silent.warning)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.1, 0.2, 0.3, 0.4])
@pytest.mark.parametrize(("n", "width"), [(1000, 10), (4000, 10), (20_000, 5)])
def test_healthy_cleaning_is_not_warned_of(rule, noise, n, width):
    """A good model drops about what is wrong, and most of it is."""
    scores, given, true = world(11, n, width, noise, sharp=6.0)
    keep = clean.keep_rule(rule, scores, given)
    found = clean.detection(keep, given != true)
    assert found.precision > 0.85 or not noise
    assert clean.balance(scores, given, keep).warning is None


@pytest.mark.parametrize(
    ("removed", "noise", "confirmed", "least", "words"),
    [
        (0.40, 0.38, 0.60, 0.30, None),
        (0.04, 0.01, 0.96, 0.00, None),
        (0.14, 0.12, 0.86, 0.00, None),
        (0.69, 0.41, 0.31, 0.35, "69% of the labels are dropped, more than half"),
        (0.45, 0.40, 0.55, 0.20, "45% of the labels are dropped, but where the models are surest"),
        (0.45, 0.40, 0.55, 0.23, None),
        (0.47, 0.09, 0.53, 0.00, "47% of the labels are dropped but only about 9%"),
        (0.02, 0.20, 0.80, 0.15, "only 2% of the labels are dropped but about 20%"),
        (0.89, 0.88, 0.11, 0.70, "hardly more than"),
    ],
)
def test_warnings_name_both_numbers(removed, noise, confirmed, least, words):
    text = clean.Balance(removed, noise, confirmed, 0.1, least, 0.02).warning
    assert text is None if words is None else words in str(text)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sharp", [0.0, 0.8, 1.2])
def test_a_hopeless_model_under_confidence_is_warned_of_and_a_good_one_is_not(seed, sharp):
    """It drops what its own estimate says: 35% of the labels, most of them right, with 19% wrong."""
    scores, given, true = world(seed, 2000, 10, noise=0.19, sharp=sharp)
    keep = clean.keep_rule("confidence", scores, given)
    assert clean.detection(keep, given != true).precision < 0.5
    assert clean.balance(scores, given, keep).warning is not None
    scores, given, true = world(seed, 2000, 10, noise=0.19, sharp=3.0)
    keep = clean.keep_rule("confidence", scores, given)
    assert clean.detection(keep, given != true).precision > 0.8
    assert clean.balance(scores, given, keep).warning is None


def test_the_lower_bound_is_not_far_when_few_images_say_it():
    assert clean.Balance(0.3, 0.28, 0.7, 0.1, 0.1, 0.02).warning is not None
    assert clean.Balance(0.3, 0.28, 0.7, 0.1, 0.1, 0.11).warning is None


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
