from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score

from metric_batches import Batch, batches, fill, random_batch
from reteach.errors import UserError
from reteach.metrics.counts import Counts, CountsAt, CountsTop

KEYS = ("cp", "cr", "cf1", "op", "or", "of1")


def literal(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The six numbers by the book, one class at a time."""
    precisions, recalls, hits, guesses, labels = [], [], 0, 0, 0
    for p, t in zip(predicted.T.tolist(), truth.T.tolist(), strict=True):
        right = sum(a and b for a, b in zip(p, t, strict=True))
        hits, guesses, labels = hits + right, guesses + sum(p), labels + sum(t)
        if sum(t):
            precisions.append(right / sum(p) if sum(p) else 0.0)
            recalls.append(right / sum(t))
    if not labels:
        return dict.fromkeys(KEYS, float("nan"))
    cp, cr = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    op, or_ = (hits / guesses if guesses else 0.0), hits / labels
    cf1 = 2 * cp * cr / (cp + cr) if cp + cr else 0.0
    of1 = 2 * op * or_ / (op + or_) if op + or_ else 0.0
    return dict(zip(KEYS, (cp, cr, cf1, op, or_, of1), strict=True))


def top(scores: np.ndarray, k: int) -> np.ndarray:
    out = np.zeros(scores.shape, bool)
    for row, marks in zip(scores, out, strict=True):
        marks[sorted(range(len(row)), key=lambda c: (-float(row[c]), c))[:k]] = True
    return out


@given(batches(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_at_a_threshold(batch: Batch, threshold: float) -> None:
    expected = literal(batch[0] > threshold, batch[1])
    assert fill(CountsAt(threshold), batch).compute() == pytest.approx(expected, nan_ok=True)


@given(batches(), st.data())
def test_of_the_top_k(batch: Batch, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, batch[0].shape[1]))
    chosen = top(batch[0], k)
    assert fill(CountsTop(k), batch).compute() == pytest.approx(
        literal(chosen, batch[1]), nan_ok=True
    )
    expected = literal(chosen & (batch[0] > 0.5), batch[1])
    assert fill(CountsTop(k, 0.5), batch).compute() == pytest.approx(expected, nan_ok=True)


@given(batches(), st.data())
def test_unknown_entries_do_not_count(batch: Batch, data: st.DataObject) -> None:
    scores, truth = batch
    flat = data.draw(st.lists(st.booleans(), min_size=truth.size, max_size=truth.size))
    known = np.array(flat).reshape(truth.shape)
    metric = CountsAt(0.25)
    metric.update(scores, truth, known)
    expected = literal((scores > 0.25) & known, truth & known)
    assert metric.compute() == pytest.approx(expected, nan_ok=True)
    assert metric.per_class().support.tolist() == (truth & known).sum(axis=0).tolist()


@pytest.mark.parametrize("metric", [CountsAt(0.4), CountsTop(3)])
def test_agrees_with_scikit_learn(metric: Counts) -> None:
    scores, truth = random_batch(500, 9)
    predicted = metric.predict(scores)
    ours = fill(metric, (scores, truth), 17, 300).compute()
    average = {"average": "macro", "zero_division": 0}
    assert ours["cp"] == pytest.approx(precision_score(truth, predicted, **average))
    assert ours["cr"] == pytest.approx(recall_score(truth, predicted, **average))
    assert ours["op"] == pytest.approx(precision_score(truth, predicted, average="micro"))
    assert ours["or"] == pytest.approx(recall_score(truth, predicted, average="micro"))
    assert ours["of1"] == pytest.approx(f1_score(truth, predicted, average="micro"))
    macro = f1_score(truth, predicted, **average)
    each = metric.per_class()
    assert each.f1.mean() == pytest.approx(macro)
    assert each.precision == pytest.approx(precision_score(truth, predicted, average=None))
    assert each.recall == pytest.approx(recall_score(truth, predicted, average=None))
    assert each.support.tolist() == truth.sum(axis=0).tolist()


def test_cf1_is_not_the_mean_of_the_classes_f1() -> None:
    truth = np.array([[1, 1], [1, 0]], bool)
    scores = np.array([[0.9, 0.9], [0.1, 0.9]])
    metric = fill(CountsAt(), (scores, truth))
    assert metric.compute()["cf1"] == 0.75  # precision 1 and 1/2, recall 1/2 and 1
    assert metric.per_class().f1.mean() == pytest.approx(2 / 3)


def test_classes_never_predicted_or_never_true() -> None:
    scores = np.array([[0.9, 0.1, 0.9], [0.9, 0.1, 0.1]])
    truth = np.array([[1, 1, 0], [1, 0, 0]], bool)
    metric = fill(CountsAt(), (scores, truth))
    each = metric.per_class()
    assert each.precision.tolist() == [1, 0, 0]
    assert each.recall == pytest.approx([1, 0, np.nan], nan_ok=True)
    assert each.f1 == pytest.approx([1, 0, np.nan], nan_ok=True)
    ours = metric.compute()
    assert (ours["cp"], ours["cr"]) == (0.5, 0.5)  # the third class is left out
    assert ours["op"] == pytest.approx(2 / 3)  # but its false prediction counts


def test_nothing_seen_and_widths_that_change() -> None:
    metric = CountsAt()
    assert np.isnan(list(metric.compute().values())).all()
    fill(metric, random_batch(3, 1))
    with pytest.raises(UserError, match="2 classes after batches of 1"):
        fill(metric, random_batch(3, 2))
