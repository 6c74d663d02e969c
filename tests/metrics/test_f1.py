from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score

from metric_batches import Batch, batches, fill, random_batch
from reteach.errors import UserError
from reteach.metrics.f1 import ExampleF1, F1Curve, example_f1
from reteach.metrics.score_buffer import ScoreBuffer


def literal_f1(scores: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    """The mean over images, in float64 loops; a float32 score meets a float32 threshold."""
    cut = float(scores.dtype.type(threshold))
    total = 0.0
    for row, labels in zip(scores.tolist(), truth.tolist(), strict=True):
        tp = sum(s > cut and y for s, y in zip(row, labels, strict=True))
        fp = sum(s > cut and not y for s, y in zip(row, labels, strict=True))
        fn = sum(s <= cut and y for s, y in zip(row, labels, strict=True))
        total += 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
    return total / len(scores)


def all_thresholds(scores: np.ndarray) -> list[float]:
    """One below every score, then each score: every set of predictions there is."""
    return [-1.0, *np.unique(np.abs(scores)).tolist()]


@given(batches(), st.sampled_from([-1.0, 0.0, 0.1, 0.25, 0.3, 0.5, 1.0]))
def test_f1_at_a_threshold(batch: Batch, threshold: float) -> None:
    expected = literal_f1(*batch, threshold)
    assert example_f1(*batch, threshold) == pytest.approx(expected, abs=1e-12)
    assert fill(F1Curve(), batch).at(threshold) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.9, 0.999])
def test_agrees_with_scikit_learn(threshold: float) -> None:
    scores, truth = random_batch(400, 8)
    assert (~truth.any(axis=1)).any()
    predicted = scores > np.float32(threshold)
    metric = fill(ExampleF1(threshold), (scores, truth), 100, 101)
    f1 = f1_score(truth, predicted, average="samples", zero_division=1)
    precision = precision_score(truth, predicted, average="samples", zero_division=0)
    assert metric.compute() == pytest.approx(f1, abs=1e-12)
    assert metric.precision() == pytest.approx(precision, abs=1e-12)
    assert metric.labels_per_image() == pytest.approx(predicted.sum() / 400)
    assert metric.true_labels_per_image() == pytest.approx(truth.sum() / 400)
    assert metric.coverage() == pytest.approx(predicted.sum() / truth.sum())


@given(batches())
def test_best_is_the_best_of_all_thresholds_and_reproduces_its_f1(batch: Batch) -> None:
    scores, truth = batch
    threshold, f1 = fill(F1Curve(), batch).best()
    assert f1 == pytest.approx(
        max(literal_f1(*batch, t) for t in all_thresholds(scores)), abs=1e-12
    )
    assert literal_f1(*batch, threshold) == pytest.approx(f1, abs=1e-12)
    wide = scores.astype(np.float64)  # the same comparison in double precision
    assert literal_f1(wide, truth, threshold) == pytest.approx(f1, abs=1e-12)
    assert threshold == scores.dtype.type(threshold)


@given(batches())
def test_best_is_the_highest_of_equally_good_thresholds(batch: Batch) -> None:
    scores, _ = batch
    threshold, f1 = fill(F1Curve(), batch).best()
    higher = [
        t
        for t in all_thresholds(scores)
        if (scores > scores.dtype.type(threshold)).sum() > (scores > scores.dtype.type(t)).sum()
    ]
    assert all(literal_f1(*batch, t) < f1 - 1e-13 for t in higher)


def test_the_threshold_lies_midway_between_neighbours() -> None:
    truth = np.array([[True, True, False]])
    assert fill(F1Curve(), (np.array([[0.75, 0.5, 0.25]]), truth)).best() == (0.375, 1.0)
    low = np.float32(0.3)
    for _ in range(2):  # of two neighbouring gaps, one would round up onto the higher score
        high = np.nextafter(low, np.float32(1))
        scores = np.array([[0.75, high, low]], np.float32)
        assert fill(F1Curve(), (scores, truth)).best() == (float(low), 1.0)
        low = high


def test_fewer_predictions_win_a_tie() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6]])
    truth = np.array([[1, 0, 0, 1]], bool)  # F1 = 2/3 after one and after four
    threshold, f1 = fill(F1Curve(), (scores, truth)).best()
    assert 0.8 <= threshold < 0.9
    assert f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("score", "present", "expected"),
    [
        (0.5, True, (0.25, 1.0)),  # everything predicted: midway to 0
        (0.0, True, (-1.0, 1.0)),
        (1.0, True, (0.5, 1.0)),
        (0.5, False, (1.0, 1.0)),  # nothing predicted
    ],
)
def test_ends_of_the_scale(score: float, present: bool, expected: tuple[float, float]) -> None:
    batch = np.full((2, 3), score), np.full((2, 3), present)
    assert fill(F1Curve(), batch).best() == expected


def test_small_thresholds_are_searched() -> None:
    """A softmax over many classes puts the second label far below any grid's floor."""
    scores = np.array([[1 - 1e-9, 1e-9, 1e-12, 1e-13]])
    threshold, f1 = fill(F1Curve(), (scores, np.array([[1, 1, 0, 0]], bool))).best()
    assert f1 == 1
    assert 1e-12 < threshold < 1e-9


def test_sample_follows_the_steps() -> None:
    batch = random_batch(300, 6)
    thresholds = np.linspace(0, 1, 12).reshape(3, 4)
    sampled = fill(F1Curve(), batch).sample(thresholds)
    expected = [[literal_f1(*batch, t) for t in row] for row in thresholds]
    assert sampled == pytest.approx(np.array(expected), abs=1e-12)


@given(batches(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_label_counts(batch: Batch, threshold: float) -> None:
    scores, truth = batch
    curve = fill(F1Curve(), batch)
    predicted = np.count_nonzero(scores > threshold)
    assert curve.labels_per_image(threshold) == pytest.approx(predicted / len(scores))
    true = np.count_nonzero(truth)
    expected = predicted / true if true else np.nan
    assert curve.coverage(threshold) == pytest.approx(expected, nan_ok=True)


@given(batches(), st.integers(0, 12), st.booleans())
def test_batches_add_up_to_the_bit(batch: Batch, cut: int, folded: bool) -> None:
    limit = 0 if folded else 10**6
    whole, parts = (fill(F1Curve(ScoreBuffer(limit)), batch, *cuts) for cuts in ([], [cut]))
    assert whole.best() == parts.best()
    assert whole.at(0.3) == parts.at(0.3)


def test_folded_f1_is_exact_at_the_grid_and_its_best_is_near() -> None:
    batch = random_batch(4000, 12)
    exact, folded = fill(F1Curve(), batch), fill(F1Curve(ScoreBuffer(1000)), batch, 500, 1500, 1501)
    for threshold in (-1.0, 0.0, 0.01, 0.25, 0.5, 0.9, 1.0):
        assert folded.at(threshold) == pytest.approx(exact.at(threshold), abs=1e-12)
    threshold, f1 = folded.best()
    assert f1 == pytest.approx(exact.at(threshold), abs=1e-12)
    assert exact.best()[1] - 1e-3 < f1 <= exact.best()[1]
    assert folded.labels_per_image(0.25) == exact.labels_per_image(0.25)
    assert folded.coverage(0.25) == exact.coverage(0.25)


def test_folded_everything_and_nothing() -> None:
    ones = np.ones((2, 3), bool)
    assert fill(F1Curve(ScoreBuffer(0)), (np.zeros((2, 3)), ones)).best() == (-1.0, 1.0)
    assert fill(F1Curve(ScoreBuffer(0)), (np.ones((2, 3)), ~ones)).best() == (1.0, 1.0)


def test_float32_and_float64_batches_mix() -> None:
    narrow, wide = random_batch(50, 4), random_batch(50, 4, seed=1, dtype=np.float64)
    curve = fill(fill(F1Curve(), narrow), wide)
    scores = np.concatenate([narrow[0].astype(np.float64), wide[0]])
    truth = np.concatenate([narrow[1], wide[1]])
    assert curve.best() == pytest.approx(fill(F1Curve(), (scores, truth)).best(), abs=1e-12)


def test_nothing_seen() -> None:
    curve = F1Curve()
    assert np.isnan(curve.at(0.5))
    assert np.isnan(ExampleF1(0.5).compute())
    with pytest.raises(UserError, match="no images"):
        curve.best()
    with pytest.raises(UserError, match="no images"):
        fill(curve, (np.zeros((0, 3)), np.zeros((0, 3), bool))).best()


def without(scores: np.ndarray, truth: np.ndarray, known: np.ndarray) -> list[Batch]:
    """The known entries of each image, as a batch of one row."""
    rows = zip(scores, truth, known, strict=True)
    return [(s[k][None], t[k][None]) for s, t, k in rows]


@given(batches(), st.data(), st.booleans())
def test_unknown_entries_do_not_count(batch: Batch, data: st.DataObject, folded: bool) -> None:
    scores, truth = batch
    flat = data.draw(st.lists(st.booleans(), min_size=truth.size, max_size=truth.size))
    known = np.array(flat).reshape(truth.shape)
    curve, at = F1Curve(ScoreBuffer(0) if folded else None), ExampleF1(0.25)
    curve.update(scores, truth, known)
    at.update(scores, truth, known)
    each = without(scores, truth, known)
    for threshold in (-1, 0, 0.25, 0.5):
        expected = np.mean([literal_f1(s, t, threshold) for s, t in each])
        assert curve.at(threshold) == pytest.approx(expected)
    predicted = [(s > 0.25).sum() for s, _ in each]
    assert curve.labels_per_image(0.25) == pytest.approx(np.mean(predicted))
    assert at.compute() == pytest.approx(np.mean([literal_f1(s, t, 0.25) for s, t in each]))
    assert at.labels_per_image() == pytest.approx(np.mean(predicted))
    if not folded:
        threshold, value = curve.best()
        assert curve.at(threshold) == pytest.approx(value)
