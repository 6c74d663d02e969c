from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_accuracy

from metric_batches import Batch, batches, fill, random_batch
from reteach.metrics.accuracy import Accuracy, KthAccuracy, accuracy, kth_accuracy, top_classes


def order(row: np.ndarray) -> list[int]:
    """Class indices, largest score first, the smaller index first among equals."""
    return sorted(range(len(row)), key=lambda c: (-float(row[c]), c))


def literal_accuracy(scores: np.ndarray, truth: np.ndarray, k: int) -> float:
    hits = [
        any(labels[c] for c in order(row)[:k])
        for row, labels in zip(scores, truth, strict=True)
        if labels.any()
    ]
    return sum(hits) / len(hits) if hits else float("nan")


def literal_kth(scores: np.ndarray, truth: np.ndarray, k: int) -> float:
    hits = [
        bool(labels[order(row)[k]])
        for row, labels in zip(scores, truth, strict=True)
        if labels.any()
    ]
    return sum(hits) / len(hits) if hits else float("nan")


@given(batches(), st.integers(1, 9))
def test_top_k_is_the_literal_one(batch: Batch, k: int) -> None:
    assert accuracy(*batch, k) == pytest.approx(literal_accuracy(*batch, k), nan_ok=True)


@given(batches(), st.data())
def test_kth_prediction_is_the_literal_one(batch: Batch, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, batch[0].shape[1]))
    expected = [literal_kth(*batch, place) for place in range(k)]
    assert kth_accuracy(*batch, k) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("k", [1, 5, 16, 17, 30])
def test_top_classes_sorts_stably(k: int) -> None:
    scores = np.round(random_batch(50, 30)[0], 1)  # many ties
    assert top_classes(scores, k).tolist() == [order(row)[:k] for row in scores]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_single_labels_agree_with_torchmetrics(k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.dirichlet(np.ones(20), 300).astype(np.float32)
    target = rng.integers(0, 20, 300)
    expected = multiclass_accuracy(
        torch.from_numpy(scores), torch.from_numpy(target), 20, average="micro", top_k=k
    )
    assert accuracy(scores, np.eye(20, dtype=bool)[target], k) == pytest.approx(expected.item())


@given(batches(), st.integers(0, 12), st.integers(1, 3))
def test_batches_add_up(batch: Batch, cut: int, k: int) -> None:
    whole, parts = fill(Accuracy(k), batch), fill(Accuracy(k), batch, cut)
    assert (whole.n, whole.compute()) == pytest.approx((parts.n, parts.compute()), nan_ok=True)
    one, two = fill(KthAccuracy(1), batch), fill(KthAccuracy(1), batch, cut)
    assert one.compute() == pytest.approx(two.compute(), nan_ok=True)


def test_images_without_a_label_are_left_out() -> None:
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.1]])
    truth = np.array([[1, 0], [0, 1], [0, 0]], bool)
    metric = fill(Accuracy(), (scores, truth))
    assert (metric.n, metric.compute()) == (2, 0.5)
    assert kth_accuracy(scores, truth, 2).tolist() == [0.5, 0.5]
    assert np.isnan(accuracy(scores[2:], truth[2:], k=5))


def test_nothing_seen_is_nan() -> None:
    assert np.isnan(Accuracy().compute())
    assert np.isnan(KthAccuracy(2).compute()).tolist() == [True, True]


def test_k_must_make_sense() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Accuracy(0)
    with pytest.raises(ValueError, match=r"\[1, 3\], got 4"):
        kth_accuracy(*random_batch(2, 3), 4)
