"""The sketch against counting by hand, and against its promise that order and batches do not matter."""

from __future__ import annotations

import numpy as np
import pytest

from reteach.errors import UserError
from reteach.relabel.calibration.logit_histogram import NAMED, UNKNOWN, UNNAMED, LogitHistogram

CLASSES = ("ant", "bee", "cat")


def logits(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (n, 3)).astype(np.float32)


def filled(z: np.ndarray, named: np.ndarray, batch: int, bins: int = 64) -> LogitHistogram:
    histogram = LogitHistogram(CLASSES, bins)
    for start in range(0, len(z), batch):
        histogram.add(z[start : start + batch], named[start : start + batch])
    return histogram


def test_counts_are_those_of_a_loop():
    z, named = logits(50), np.random.default_rng(1).integers(-1, 3, 50)
    histogram = filled(z, named, 7)
    centres = histogram.centres()
    width = centres[1] - centres[0]
    expected = np.zeros((3, 3, 64))
    for i in range(50):
        for c in range(3):
            kind = UNKNOWN if named[i] < 0 else NAMED if named[i] == c else UNNAMED
            (bin_,) = np.flatnonzero(
                (centres - width / 2 <= z[i, c]) & (z[i, c] < centres + width / 2)
            )
            expected[kind, c, bin_] += 1
    assert np.array_equal(histogram.counts(), expected)
    assert (histogram.images, histogram.named) == (50, int((named >= 0).sum()))


@pytest.mark.parametrize("batch", [1, 3, 40])
def test_batches_do_not_matter(batch):
    z, named = logits(40, 2) * np.linspace(0.01, 5, 40)[:, None], np.zeros(40, np.int64)
    whole, parts = filled(z, named, 40), filled(z, named, batch)
    assert np.array_equal(whole.centres(), parts.centres())
    assert np.array_equal(whole.counts(), parts.counts())


def test_an_outlier_keeps_every_count():
    histogram = LogitHistogram(CLASSES, 16)
    histogram.add(logits(100))
    histogram.add(np.full((1, 3), -4000.0))
    histogram.add(np.full((1, 3), 9000.0))
    assert histogram.counts().sum() == 306
    assert histogram.centres()[0] < 0 < histogram.centres()[-1]
    assert histogram.counts()[..., 0].sum() == 3


def test_large_batches_are_counted_in_parts(monkeypatch):
    z, named = logits(100), np.arange(100) % 4 - 1
    whole = filled(z, named, 100)
    monkeypatch.setattr("reteach.relabel.calibration.logit_histogram._WAITING", 30)
    assert np.array_equal(filled(z, named, 100).counts(), whole.counts())


def test_what_cannot_be_counted_is_named():
    histogram = LogitHistogram(CLASSES)
    histogram.add(logits(5))
    bad = logits(4)
    bad[2, 1] = np.nan
    with pytest.raises(UserError, match="class 'bee' for image 7 is not finite"):
        histogram.add(bad)
    with pytest.raises(UserError, match=r"must be \(B, 3\)"):
        histogram.add(np.zeros((4, 2)))
    with pytest.raises(UserError, match="class indices below 3"):
        histogram.add(logits(4), np.array([0, 1, 2, 3]))
