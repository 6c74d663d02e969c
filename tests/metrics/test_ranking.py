from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torchmetrics.functional.classification import multilabel_average_precision

from metric_batches import Batch, batches, fill, random_batch
from reteach.metrics.ranking import MeanAveragePrecision, average_precision
from reteach.metrics.score_buffer import ScoreBuffer


def literal(scores: np.ndarray, truth: np.ndarray) -> float:
    """AP of one class: the mean over positives of precision among those scored as high."""
    values = scores.astype(np.float64).tolist()
    precisions = []
    for value, present in zip(values, truth.tolist(), strict=True):
        if present:
            reached = [y for v, y in zip(values, truth.tolist(), strict=True) if v >= value]
            precisions.append(sum(reached) / len(reached))
    return sum(precisions) / len(precisions) if precisions else float("nan")


def sklearn_ap(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        each = [average_precision_score(truth[:, c], scores[:, c]) for c in range(truth.shape[1])]
    return np.where(truth.any(axis=0), each, np.nan)


@given(batches())
def test_is_the_literal_one_and_scikit_learns(batch: Batch) -> None:
    ours = average_precision(*batch)
    expected = [literal(s, t) for s, t in zip(batch[0].T, batch[1].T, strict=True)]
    assert ours == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert ours == pytest.approx(sklearn_ap(*batch), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_agrees_on_large_columns_with_ties(decimals: int) -> None:
    scores, truth = random_batch(3000, 37)  # more classes than are turned at once
    scores = np.round(scores, decimals)
    ours = average_precision(scores, truth)
    assert ours == pytest.approx(sklearn_ap(scores, truth), abs=1e-12)
    theirs = multilabel_average_precision(
        torch.from_numpy(scores), torch.from_numpy(truth).long(), num_labels=37
    )
    assert ours.mean() == pytest.approx(theirs.item(), abs=1e-5)


@given(batches(), st.data())
def test_unknown_entries_do_not_count(batch: Batch, data: st.DataObject) -> None:
    scores, truth = batch
    flat = data.draw(st.lists(st.booleans(), min_size=truth.size, max_size=truth.size))
    known = np.array(flat).reshape(truth.shape)
    expected = [literal(s[k], t[k]) for s, t, k in zip(scores.T, truth.T, known.T, strict=True)]
    assert average_precision(scores, truth, known) == pytest.approx(
        expected, abs=1e-12, nan_ok=True
    )


@given(batches(), st.integers(0, 12), st.booleans())
def test_batches_add_up_to_the_bit(batch: Batch, cut: int, folded: bool) -> None:
    limit = 0 if folded else 10**6
    whole, parts = (fill(MeanAveragePrecision(ScoreBuffer(limit)), batch, *c) for c in ([], [cut]))
    assert np.array_equal(whole.per_class(), parts.per_class(), equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("present", "seed"), [(0.15, 0), (0.01, 1), (0.6, 2)])
def test_folded_is_within_a_thousandth(dtype: type, present: float, seed: int) -> None:
    batch = random_batch(20_000, 10, seed, dtype, present)
    exact = fill(MeanAveragePrecision(), batch)
    folded = fill(MeanAveragePrecision(ScoreBuffer(1000)), batch, 3000, 3001)
    assert folded.per_class() == pytest.approx(exact.per_class(), abs=1e-3)
    assert folded.compute() != exact.compute()  # it did fold
    assert folded.compute() == pytest.approx(exact.compute(), abs=3e-4)


def test_folded_is_exact_for_a_few_distinct_scores_and_keeps_unknown_apart() -> None:
    scores, truth = random_batch(500, 5)
    scores = np.round(scores * 4) / 4  # 0 and 1 included
    known = np.random.default_rng(0).random(truth.shape) < 0.7
    folded = MeanAveragePrecision(ScoreBuffer(0))
    folded.update(scores, truth, known)
    expected = average_precision(scores, truth, known)
    assert folded.per_class() == pytest.approx(expected, abs=1e-12)


def test_classes_without_a_positive_are_left_out_and_counted() -> None:
    scores, truth = random_batch(30, 4)
    truth[:, 1] = False
    for limit in (0, 10**6):
        metric = fill(MeanAveragePrecision(ScoreBuffer(limit)), (scores, truth))
        each = metric.per_class()
        assert np.isnan(each).tolist() == [False, True, False, False]
        assert metric.compute() == pytest.approx(each[[0, 2, 3]].mean())
        assert metric.left_out() == 1


def test_constant_scores_give_the_frequency() -> None:
    truth = random_batch(100, 3)[1]
    ours = average_precision(np.full(truth.shape, 0.5), truth)
    assert ours == pytest.approx(truth.mean(axis=0))


def test_nothing_seen_is_nan() -> None:
    metric = MeanAveragePrecision()
    assert np.isnan(metric.compute())
    assert metric.per_class().shape == (0,)
    fill(metric, (np.zeros((0, 3)), np.zeros((0, 3), bool)))
    assert np.isnan(metric.compute())
    assert metric.left_out() == 3


def test_known_must_be_a_mask() -> None:
    scores, truth = random_batch(3, 2)
    with pytest.raises(ValueError, match=r"boolean \(3, 2\), got float64"):
        average_precision(scores, truth, np.ones((3, 2)))
