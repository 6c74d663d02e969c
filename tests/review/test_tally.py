"""The sums over binned items against sums over each item, and what is decided taken out of both."""

from __future__ import annotations

import numpy as np
import pytest

from reteach.labels import Multi
from reteach.review.estimate import calibrated
from reteach.review.prepared import Entries
from reteach.review.tally import BINS, Tally

CLASSES = ("a", "b", "c")


def some(n: int) -> tuple[Entries, np.ndarray, np.ndarray]:
    """Label sets of 0 to 3 classes, guesses (some of them 0), and the decided items."""
    rng = np.random.default_rng(n)
    present = rng.random((n, 3)) < 0.5
    rows, columns = np.nonzero(present)
    starts = np.searchsorted(rows, np.arange(n + 1))
    guessed = rng.beta(0.4, 0.8, n).astype(np.float32)
    guessed[rng.random(n) < 0.1] = 0
    return Entries.of(Multi(starts, columns, CLASSES)), guessed, np.flatnonzero(rng.random(n) < 0.3)


@pytest.mark.parametrize(("n", "near"), [(60, 1e-6), (20_000, 2e-3)])
def test_sums_of_bins_are_those_of_the_items(n: int, near: float) -> None:
    given, guessed, decided = some(n)
    curve = calibrated("multi", guessed[decided], np.arange(len(decided)) % 3 == 0)
    tally = Tally.of(given, guessed, len(CLASSES))
    assert len(tally.middle) <= BINS + 1
    count, table = tally.left(decided)
    items = np.zeros(3, np.int64)
    expected = np.zeros(3)
    open_ = sorted(set(range(n)) - set(decided.tolist()))
    p = curve(guessed)
    for row in open_:
        for c in given.set_of(row):
            items[c] += 1
            expected[c] += p[row]
    assert count.sum() == len(open_)
    assert table.sum(1).tolist() == items.tolist()
    assert table @ curve(tally.middle) == pytest.approx(expected, rel=near)
    doubtful = guessed[open_][guessed[open_] > 0]
    for q in (0.1, 0.5, 0.9):
        assert np.quantile(tally.sample(count), q) == pytest.approx(
            np.quantile(doubtful, q), abs=0.01
        )
    whole = np.quantile(curve.total(guessed[open_]), [0.05, 0.5, 0.95])
    binned = np.quantile(curve.total(tally.middle, count), [0.05, 0.5, 0.95])
    assert binned == pytest.approx(whole, rel=0.01)


def test_nothing_to_doubt() -> None:
    given, guessed, decided = some(40)
    tally = Tally.of(given, np.zeros_like(guessed), len(CLASSES))
    assert tally.left(decided)[0].tolist() == [40 - len(decided)]
    assert tally.middle.tolist() == [0]
    assert len(tally.sample(tally.count)) == 0
