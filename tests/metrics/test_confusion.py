"""The confusion matrix of single labels, against counting image by image."""

from __future__ import annotations

from collections import Counter

import numpy as np

from reteach.metrics.confusion import ConfusionMatrix
from reteach.metrics.summary import Summary


def test_confusion_is_counted_image_by_image() -> None:
    draw = np.random.default_rng(0)
    scores = draw.integers(0, 4, (60, 5)) / 4  # with ties: the lower class comes first
    labels = draw.integers(0, 4, 60)  # class 4 has no image
    truth = np.eye(5, dtype=bool)[labels]
    oracle: Counter[tuple[int, int]] = Counter()
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        oracle[label, row.index(max(row))] += 1
    found, summary = ConfusionMatrix(), Summary(tuple("abcde"))
    for part in np.array_split(np.arange(60), 7):
        found.update(scores[part], truth[part])
        summary.update(scores[part], truth[part])
    assert found.cells() == sorted((*cell, n) for cell, n in oracle.items())
    assert summary.confusion() == found.cells()


def test_label_sets_and_unknown_entries_have_no_confusion_matrix() -> None:
    scores, one = np.full((2, 3), 0.5), np.eye(3, dtype=bool)[:2]
    for truth, known in (
        (one | np.array([[0, 0, 1], [0, 0, 0]], bool), None),
        (one & np.array([[0], [1]], bool), None),
        (one, np.array([[1, 1, 0], [1, 1, 1]], bool)),
    ):
        found = ConfusionMatrix()
        found.update(scores, one)
        found.update(scores, truth, known)
        found.update(scores, one)
        assert found.cells() == []
    assert ConfusionMatrix().cells() == []
