"""Intervals, precision and recall, raters' quality: against scikit-learn, loops and known values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reteach.analysis.curves import curve, operating_point, point, threshold_for
from reteach.analysis.intervals import ratio_by_group, wilson
from reteach.analysis.quality import rater_quality
from reteach.errors import UserError
from reteach.relabel.raters.ratings import MAYBE, NO, YES, Ratings


def test_wilson_by_the_quadratic_it_solves() -> None:
    hits, n = np.array([0, 1, 5, 50, 10.5]), np.array([10, 10, 10, 50, 20])
    low, high = wilson(hits, n)
    z2 = 1.959963984540054**2
    for bound in (low, high):
        p = hits / n
        np.testing.assert_allclose((bound - p) ** 2, z2 * bound * (1 - bound) / n, atol=1e-12)
    assert (low <= hits / n).all()
    assert (high >= hits / n).all()
    assert [float(x) for x in wilson(0, 0)] == [0.0, 1.0]


def test_interval_by_image_matches_theory() -> None:
    rng = np.random.default_rng(0)
    hit, group = np.repeat(rng.random(200) < 0.7, 5), np.repeat(np.arange(200), 5)
    low, high = ratio_by_group(hit, np.ones(1000), group)
    p = hit.mean()
    half = 1.96 * np.sqrt(p * (1 - p) / 200)  # five copies of each are no news
    assert high - low == pytest.approx(2 * half, rel=0.1)
    alone = ratio_by_group(hit, np.ones(1000), np.arange(1000))
    assert alone[1] - alone[0] == pytest.approx(2 * half / np.sqrt(5), rel=0.1)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_interval_by_image_does_not_collapse_at_the_ends(share: float) -> None:
    hits, image = np.full(45, share), np.repeat(np.arange(15), 3)
    low, high = ratio_by_group(hits, np.ones(45), image)
    exact = 0.025 ** (1 / 15)  # Clopper and Pearson for 15 of 15
    assert (low, high) == pytest.approx((exact, 1.0) if share else (0.0, 1 - exact))
    assert ratio_by_group(np.zeros(3), np.zeros(3), np.arange(3)) == (0.0, 1.0)


def test_interval_by_image_covers_the_truth() -> None:
    """95% of intervals hold the true share, clustered entries and a share near the end included."""
    rng = np.random.default_rng(3)
    held = []
    for _ in range(400):
        rate = rng.beta(9, 1, 40)  # of each image; the mean is 0.9
        image = np.repeat(np.arange(40), 4)
        low, high = ratio_by_group(rng.random(160) < rate[image], np.ones(160), image)
        held.append(low <= 0.9 <= high)
    assert np.mean(held) >= 0.93


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_curve_equals_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    from sklearn.metrics import precision_recall_curve

    score = np.array([s for s, _ in rows]) / 5
    truth = np.array([t for _, t in rows])
    if not truth.any():
        with pytest.raises(UserError, match="recall is not defined"):
            curve(score, truth)
        return
    precision, recall, threshold = precision_recall_curve(truth, score)
    found = curve(score, truth)
    np.testing.assert_allclose(found.threshold, threshold[::-1])
    np.testing.assert_allclose(found.precision, precision[:-1][::-1])
    np.testing.assert_allclose(found.recall, recall[:-1][::-1])
    for t, p, r in zip(found.threshold, found.precision, found.recall, strict=True):
        at = point(score >= t, truth)
        assert (at.precision, at.recall) == pytest.approx((p, r))


def test_thresholds_by_precision_and_by_recall() -> None:
    score = np.array([0.9, 0.8, 0.8, 0.6, 0.4, 0.2])
    truth = np.array([True, True, False, True, False, True])
    # kept from above: 1/1, 2/3 (a tie), 3/4, 3/5, 4/6
    assert threshold_for(score, truth, precision=0.7) == 0.6
    assert threshold_for(score, truth, precision=0.9) == 0.9
    assert threshold_for(score, truth, recall=0.5) == 0.6  # recall 3/4 is the more precise
    assert threshold_for(score, truth, recall=0.25) == 0.9
    assert threshold_for(score, truth, recall=1.0) == 0.2
    with pytest.raises(UserError, match=r"precision of 99.0%: the highest is 50.0%"):
        threshold_for(np.array([0.5, 0.5]), np.array([True, False]), precision=0.99)
    with pytest.raises(ValueError, match="either"):
        threshold_for(score, truth)


def test_operating_point_holds_its_interval() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(600) < 0.3
    score = np.clip(truth * 0.4 + rng.random(600) * 0.6, 0, 1)
    image = np.repeat(np.arange(100), 6)
    at = operating_point(score, truth, image, 0.5)
    exact = point(score >= 0.5, truth)
    assert (at.precision, at.recall) == (exact.precision, exact.recall)
    assert at.precision_interval[0] < at.precision < at.precision_interval[1]
    assert at.recall_interval[0] < at.recall < at.recall_interval[1]
    twice = operating_point(np.stack([score, score]), truth, image, 0.5)
    assert twice == at
    sure = operating_point(truth.astype(float)[:60], truth[:60], image[:60], 0.5)
    assert (sure.precision, sure.recall) == (1.0, 1.0)
    assert 0.5 < sure.precision_interval[0] < 0.9  # ten images


def test_rater_quality_counts() -> None:
    # two raters, six pairs: the first four present
    gold = np.array([1, 1, 1, 1, 0, 0], np.float64)
    answers = {"w": [YES, YES, MAYBE, NO, NO, YES], "idle": [], "v": [YES] * 4 + [NO] * 2}
    rows = [(w, p, a) for w, said in enumerate(answers.values()) for p, a in enumerate(said)]
    rater, pair, answer = np.array(rows).T
    ratings = Ratings(
        [f"{i}" for i in range(6)], ["c"], np.arange(6), np.zeros(6), list(answers),
        rater, pair, answer, gold, np.full(6, -1),
    )  # fmt: skip
    w, v = rater_quality(ratings, gold)
    assert (w.name, w.answers, w.maybe) == ("w", 6, pytest.approx(1 / 6))
    assert (w.precision.value, w.recall.value, w.specificity.value) == (2 / 3, 0.5, 0.5)
    assert (v.precision.value, v.recall.value, v.specificity.value) == (1.0, 1.0, 1.0)
    low, high = wilson(2, 3)
    assert (w.precision.low, w.precision.high) == (low, high)
    unknown = gold.copy()
    unknown[3:] = np.nan
    (w, v) = rater_quality(ratings, unknown)
    assert (w.answers, w.recall.value) == (3, 2 / 3)
    assert np.isnan(w.specificity.value)
