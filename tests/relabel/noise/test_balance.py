"""What is said of a rule that drops too much, or with too weak a model: against made-up models."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

import weak_models as weak
from reteach.relabel.noise import clean
from reteach.relabel.noise.balance import Balance, balance
from weak_models import one_hot, world

RULES = get_args(clean.Rule)


def test_a_weak_model_is_found_out():
    """Right on 60% of the images: the paper's rule drops 45% where a tenth of the labels is wrong."""
    scores, given, true = world(4, 6000, noise=0.1, sharp=1.4)
    assert 0.5 < np.mean(scores.argmax(1) == true) < 0.65
    found = balance(scores, given, clean.agreeing(scores, given))
    assert found.removed > 0.4
    assert found.noise == pytest.approx(0.1, abs=0.06)
    assert found.warning is not None
    assert "gentler rule" in found.warning
    gentle = balance(scores, given, clean.keep_rule("confidence", scores, given))
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
    found, right = balance(scores, given, keep), clean.detection(keep, given != true)
    assert found.removed == pytest.approx(0.755, abs=0.02)
    assert right.precision == pytest.approx(0.246, abs=0.02)
    assert np.mean(given != true) == pytest.approx(0.2, abs=0.02)
    assert found.noise > 0.6, "compared with this estimate alone nothing is wrong"
    assert found.confirmed > found.chance + 0.05
    assert "half or more" in str(found.warning)


@pytest.mark.parametrize("seed", range(3))
def test_more_than_a_lower_bound_of_the_noise_is_warned_of(seed):
    """A third of the labels is dropped, a tenth is wrong, and the estimate is twice too large."""
    scores, given, true = world(seed, 6000, 5, noise=0.02, sharp=1.8)
    keep = clean.agreeing(scores, given)
    found = balance(scores, given, keep)
    assert 0.25 < found.removed < 0.5
    assert clean.detection(keep, given != true).precision < 0.2
    silent = replace(found, noise=found.removed, confident=found.removed)  # whatever estimates say
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
    assert balance(scores, given, keep).warning is None


@pytest.mark.parametrize(
    ("removed", "noise", "confirmed", "surest", "words"),
    [
        (0.40, 0.38, 0.60, 0.38, None),
        (0.04, 0.01, 0.96, 0.01, None),
        (0.14, 0.12, 0.86, 0.12, None),
        (0.69, 0.41, 0.31, 0.41, "69.0% of the labels are dropped, half or more"),
        (0.50, 0.41, 0.60, 0.41, "50.0% of the labels are dropped, half or more"),
        (0.45, 0.40, 0.55, 0.20, "45% of the labels are dropped, but where the models are surest"),
        (0.45, 0.40, 0.55, 0.23, None),
        (0.47, 0.09, 0.53, 0.09, "47% of the labels are dropped but only about 9%"),
        (0.30, 0.29, 0.48, 0.29, "30% of the labels are dropped by models that confirm 48%"),
        (0.12, 0.12, 0.48, 0.20, "12% of the labels are dropped by models that confirm 48%"),
        (0.02, 0.20, 0.80, 0.20, "only 2% of the labels are dropped but about 20%"),
        (0.89, 0.88, 0.11, 0.88, "hardly more than"),
    ],
)
def test_warnings_name_the_numbers(removed, noise, confirmed, surest, words):
    text = made(removed, noise, confirmed, surest).warning
    assert text is None if words is None else words in str(text)


def test_no_false_alarm_where_the_surest_contradict_more_than_the_estimate():
    """CIFAR-10N "worse": 42% dropped, the estimate says 20%, the models where they are surest 33%."""
    true = made(0.42, 0.20, 0.56, 0.33)
    assert replace(true, confident=0.42).warning is None
    assert "only about" in str(replace(true, confident=0.42, surest=0.20).warning)


def made(removed: float, noise: float, confirmed: float, surest: float, error=0.02) -> Balance:
    return Balance(
        labels=5000,
        removed=removed,
        noise=noise,
        confident=noise,
        confirmed=confirmed,
        chance=0.1,
        least=0.0,
        surest=surest,
        error=error,
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sharp", [0.0, 0.8, 1.2])
def test_a_hopeless_model_under_confidence_is_warned_of_and_a_good_one_is_not(seed, sharp):
    """It drops what its own estimate says: 35% of the labels, most of them right, with 19% wrong."""
    scores, given, true = world(seed, 2000, 10, noise=0.19, sharp=sharp)
    keep = clean.keep_rule("confidence", scores, given)
    assert clean.detection(keep, given != true).precision < 0.5
    assert balance(scores, given, keep).warning is not None
    scores, given, true = world(seed, 2000, 10, noise=0.19, sharp=3.0)
    keep = clean.keep_rule("confidence", scores, given)
    assert clean.detection(keep, given != true).precision > 0.8
    assert balance(scores, given, keep).warning is None


def test_what_the_surest_say_is_not_far_when_they_are_few():
    assert made(0.29, 0.28, 0.7, 0.1, 0.02).warning is not None
    assert made(0.29, 0.28, 0.7, 0.1, 0.11).warning is None


def test_half_of_the_labels_dropped_is_warned_of():
    """A model of 400 labels that drops 50.0% at a precision of a third passed without a word."""
    scores, given, true = weak.graded(np.random.default_rng(8), 400, 10, 0.58, 0.17)
    keep = clean.most_confident(scores, given, 0.5)
    found = balance(scores, given, keep)
    assert found.removed == 0.5
    assert clean.detection(keep, given != true).precision < 0.36
    assert "half or more" in str(found.warning)


@pytest.fixture(scope="module")
def weak_models() -> list[weak.Draw]:
    return list(weak.draws(280, seed=1))


def test_the_lower_bound_is_below_the_noise_in_95_of_100_draws(weak_models):
    """Models right on 40% to 95%, labels wrong in 0% to 40%; also where half of the errors are sure ones."""
    below = [clean.least_noise(d.scores, d.given) <= d.noise for d in weak_models]
    assert np.mean(below) >= 0.95
    for family in weak.FAMILIES:
        ours = [b for b, d in zip(below, weak_models, strict=True) if d.family == family]
        assert np.mean(ours) >= 0.9, family


def test_the_lower_bound_says_something_where_the_model_is_good():
    for noise in (0.2, 0.4):
        scores, given, true = world(3, 4000, 10, noise, sharp=6.0)
        wrong = float(np.mean(given != true))
        assert 0.3 * wrong < clean.least_noise(scores, given) < wrong


def test_dropping_hardly_better_than_at_random_is_warned_of(weak_models):
    """30% or more dropped, at a precision under 1.5 times the share of wrong labels."""
    silent, told = [], 0
    for d in weak_models:
        for rule in RULES:
            keep = clean.keep_rule(rule, d.scores, d.given)
            right = clean.detection(keep, d.given != d.true).precision
            if np.mean(~keep) >= 0.3 and right < 1.5 * d.noise:
                warned = balance(d.scores, d.given, keep).warning is not None
                told += warned
                silent += [] if warned else [(d.family, rule)]
    assert told > 50
    assert len(silent) <= 0.02 * told, silent


def literal_least(scores: np.ndarray, given: np.ndarray) -> float:
    """The lower bound, class by class."""
    n = len(given)
    best = [max(range(len(row)), key=lambda c: row[c]) for row in scores.tolist()]
    rate = spread = taken = 0.0
    for c in set(best):
        own = [i for i in range(n) if best[i] == c]
        margin = {i: math.log(np.sort(scores[i])[-1] / np.sort(scores[i])[-2]) for i in own}
        surest = sorted(own, key=lambda i: -margin[i])[: max(10, round(0.05 * len(own)))]
        wrong = sum(given[i] != c for i in surest)
        rate += len(own) / n * wrong / len(surest)
        share = (wrong + 1) / (len(surest) + 2)
        spread += (len(own) / n) ** 2 * share * (1 - share) / len(surest)
        taken += len(surest)
    refused = sum(given[i] != best[i] for i in range(n)) / n
    return max(0.0, rate - 1.645 * spread**0.5 - (0.4 + taken / n) * refused)


@pytest.mark.parametrize("seed", range(4))
def test_the_lower_bound_equals_the_literal_one(seed):
    scores, given, _ = world(seed, 700, 4, 0.4, sharp=6.0)
    found = clean.least_noise(scores, given)
    assert found > 0
    assert found == pytest.approx(literal_least(scores, given), abs=1e-9)
