"""Precision–recall curves of classes: every point counted slowly, and scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from reteach.metrics import class_curves
from reteach.metrics.summary import Summary


def summary(
    n: int, classes: int = 5, seed: int = 0, **more
) -> tuple[Summary, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    label = draw.integers(0, classes - 1, n)  # the last class does not occur
    scores = draw.random((n, classes)).round(2) / 2
    scores[np.arange(n), label] += 0.3
    found = Summary([f"c{i}" for i in range(classes)], **more)
    for rows in np.array_split(np.arange(n), 3):
        found.update(scores[rows].astype(np.float32), np.eye(classes, dtype=bool)[label[rows]])
    return found, scores.astype(np.float32), label


def test_every_point_is_what_a_count_gives_and_on_scikit_learns_curve():
    found, scores, label = summary(90)
    curves = found.class_curves()
    assert [one["class"] for one in curves] == ["c0", "c1", "c2", "c3"]
    for c, one in enumerate(curves):
        assert len(one["threshold"]) <= class_curves.LEVELS + 1
        assert one["recall"][-1] == 1
        for t, p, r in zip(one["threshold"], one["precision"], one["recall"], strict=True):
            taken = [i for i in range(90) if scores[i, c] >= t]
            hits = sum(label[i] == c for i in taken)
            assert p == pytest.approx(hits / len(taken))
            assert r == pytest.approx(hits / sum(label == c))
        theirs = zip(*precision_recall_curve(label == c, scores[:, c])[:2], strict=True)
        known = {(round(p, 6), round(r, 6)) for p, r in theirs}
        assert {
            (round(p, 6), round(r, 6)) for p, r in zip(one["precision"], one["recall"], strict=True)
        } <= known


def test_of_many_points_the_first_of_each_level_of_recall_are_taken():
    found, *_ = summary(2000, seed=1)
    one = found.class_curves()[2]
    assert 30 < len(one["recall"]) <= class_curves.LEVELS + 1
    assert one["recall"] == sorted(one["recall"])
    assert one["threshold"] == sorted(one["threshold"], reverse=True)
    assert max(np.diff([0, *one["recall"]])) < 2 / class_curves.LEVELS + 0.02


def test_the_classes_of_lowest_ap_are_shown(monkeypatch):
    monkeypatch.setattr(class_curves, "CURVES", 2)
    found, _, _ = summary(90)
    rows = [row for row in found.per_class() if row["ap"] == row["ap"]]
    lowest = sorted(rows, key=lambda row: row["ap"])[:2]
    assert {one["class"] for one in found.class_curves()} == {row["class"] for row in lowest}


def test_label_sets_and_scores_that_are_not_kept_have_no_curves():
    found = Summary(["a", "b"])
    found.update(np.full((2, 2), 0.5, np.float32), np.array([[True, True], [True, False]]))
    assert found.class_curves() == []
    few, _, _ = summary(90, limit=100)
    assert few.class_curves() == []
    assert Summary(["a"]).class_curves() == []
