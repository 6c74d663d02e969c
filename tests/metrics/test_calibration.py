from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from metric_batches import Batch, batches, fill, random_batch
from reteach.metrics.calibration import DoubtCalibration, LabelCalibration, TopCalibration


def literal(confidence: list[float], true: list[bool], bins: int = 15) -> float:
    """Sum over bins of their share times |frequency - mean confidence|."""
    if not confidence:
        return float("nan")
    error = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if min(int(c * bins), bins - 1) == b]
        if inside:
            frequency = sum(true[i] for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            error += len(inside) / len(confidence) * abs(frequency - mean)
    return error


@given(batches(), st.integers(0, 12))
def test_of_all_scores(batch: Batch, cut: int) -> None:
    scores, truth = batch
    expected = literal(scores.ravel().tolist(), truth.ravel().tolist())
    ours = fill(LabelCalibration(), batch, cut).compute()
    assert ours == pytest.approx(expected, abs=1e-7)


@given(batches(), st.integers(0, 12))
def test_of_the_top_score(batch: Batch, cut: int) -> None:
    rows = [(float(s.max()), bool(t[s.argmax()])) for s, t in zip(*batch, strict=True) if t.any()]
    expected = literal([r[0] for r in rows], [r[1] for r in rows])
    ours = fill(TopCalibration(), batch, cut).compute()
    assert ours == pytest.approx(expected, abs=1e-7, nan_ok=True)


def test_agrees_with_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.full(10, 0.3), 2000).astype(np.float32)
    target = rng.integers(0, 10, 2000)
    truth = np.eye(10, dtype=bool)[target]
    ours = fill(TopCalibration(), (scores, truth)).compute()
    theirs = multiclass_calibration_error(
        torch.from_numpy(scores), torch.from_numpy(target), num_classes=10, n_bins=15
    )
    assert ours == pytest.approx(theirs.item(), abs=1e-5)
    scores, truth = random_batch(2000, 8)
    theirs = binary_calibration_error(
        torch.from_numpy(scores.ravel()), torch.from_numpy(truth.ravel()).int(), n_bins=15
    )
    ours = fill(LabelCalibration(), (scores, truth)).compute()
    assert ours == pytest.approx(theirs.item(), abs=1e-5)


def test_unknown_entries_do_not_count() -> None:
    scores, truth = random_batch(50, 4)
    known = np.random.default_rng(0).random(truth.shape) < 0.5
    metric = LabelCalibration()
    metric.update(scores, truth, known)
    expected = literal(scores[known].tolist(), truth[known].tolist())
    assert metric.compute() == pytest.approx(expected, abs=1e-7)


def test_reliability_bins() -> None:
    scores = np.array([[0.0, 0.1], [0.6, 0.9], [1.0, 0.5]])
    truth = np.array([[0, 1], [1, 1], [1, 0]], bool)
    bins = fill(LabelCalibration(bins=4), (scores, truth)).reliability()
    assert bins.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert bins.count.tolist() == [2, 0, 2, 2]
    assert bins.confidence == pytest.approx([0.05, np.nan, 0.55, 0.95], nan_ok=True)
    assert bins.frequency == pytest.approx([0.5, np.nan, 0.5, 1], nan_ok=True)


def test_images_without_a_label_are_left_out_of_the_top_score_only() -> None:
    scores, truth = np.array([[0.8, 0.2], [0.9, 0.3]]), np.array([[1, 0], [0, 0]], bool)
    assert fill(TopCalibration(), (scores, truth)).compute() == pytest.approx(0.2)
    assert fill(LabelCalibration(), (scores, truth)).reliability().count.sum() == 4


def test_nothing_seen_is_nan_and_bins_are_needed() -> None:
    assert np.isnan(TopCalibration().compute())
    with pytest.raises(ValueError, match="at least one bin"):
        LabelCalibration(bins=0)


def test_against_a_probability_is_that_against_votes() -> None:
    """An expert's 2/3 counts as two votes of three."""
    draw = np.random.default_rng(3)
    scores, thirds = draw.random(90), draw.integers(0, 4, 90)
    ours = DoubtCalibration(15)
    ours.update(scores[:40], thirds[:40] / 3)
    ours.update(scores[40:], thirds[40:] / 3)
    votes = [
        (s, vote < n)
        for s, n in zip(scores.tolist(), thirds.tolist(), strict=True)
        for vote in range(3)
    ]
    assert ours.compute() == pytest.approx(literal([s for s, _ in votes], [v for _, v in votes]))


@pytest.mark.parametrize(
    ("scores", "probability", "said"),
    [
        ([0.2], [1.5], "probabilities must lie"),
        ([0.2], [np.nan], "probabilities must lie"),
        ([1.2], [0.5], "scores must lie"),
        ([0.2, 0.3], [0.5], "beside probabilities"),
    ],
)
def test_what_is_no_probability_is_refused(
    scores: list[float], probability: list[float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        DoubtCalibration().update(scores, probability)
