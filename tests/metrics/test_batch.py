from __future__ import annotations

import numpy as np
import pytest

from metric_batches import random_batch
from reteach.errors import UserError
from reteach.metrics.accuracy import Accuracy
from reteach.metrics.batch import above, check
from reteach.metrics.score_buffer import ScoreBuffer, key_scores, pack, sort_keys

SCORES, TRUTH = random_batch(4, 3)


def test_shapes_are_named() -> None:
    with pytest.raises(UserError, match=r"\(4, 3\) and \(4, 2\)"):
        check(SCORES, TRUTH[:, :2])
    with pytest.raises(UserError, match=r"\(3,\) and \(3,\)"):
        check(SCORES[0], TRUTH[0])
    with pytest.raises(UserError, match="3 columns for 2 classes"):
        check(SCORES, TRUTH, ["cat", "dog"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_counted_and_located(bad: float) -> None:
    scores = SCORES.copy()
    scores[1:3, 2] = bad
    with pytest.raises(UserError, match=r"2 of 4 rows.*first: row 1, class 'emu'"):
        check(scores, TRUTH, ["cat", "dog", "emu"])
    with pytest.raises(UserError, match=r"2 of 4 rows.*first: row 1, class 2"):
        Accuracy().update(scores, TRUTH)


def test_logits_are_refused() -> None:
    with pytest.raises(UserError, match=r"got -3 to 2: apply the softmax or sigmoid"):
        check([[-3.0, 2.0]], [[True, False]])


def test_truth_that_is_not_boolean_is_refused() -> None:
    with pytest.raises(ValueError, match="truth must be boolean"):
        check(SCORES, TRUTH.astype(np.float32))


def test_rounding_above_one_is_cut_and_half_precision_widened() -> None:
    scores, _ = check(np.array([[1 + 1e-6, 0.5]]), np.array([[True, False]]))
    assert scores.max() == 1
    scores, _ = check(np.array([[1, 0.5]], np.float16), np.array([[True, False]]))
    assert scores.dtype == np.float32


def test_an_empty_batch_is_fine() -> None:
    scores, truth = check(np.zeros((0, 3)), np.zeros((0, 3), bool))
    assert scores.shape == truth.shape == (0, 3)


def test_a_threshold_is_rounded_to_the_scores_precision() -> None:
    tenth = np.float32(0.1)  # larger than the double 0.1
    assert not above(np.array([[tenth]]), 0.1).any()
    assert above(np.array([[float(tenth)]]), 0.1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_packing_keeps_score_truth_and_order(dtype: type) -> None:
    scores = np.array([[0.0, -0.0, 1.0, 0.5, 1e-45, 0.5, 0.25, 0.0]], dtype)
    truth = np.array([[0, 1, 0, 1, 1, 0, 1, 1]], bool)
    known = np.array([[1, 1, 1, 1, 1, 1, 0, 1]], bool)
    packed = pack(scores, truth, known)
    assert np.array_equal(~np.signbit(packed[known]), truth[known])
    assert np.array_equal(np.isnan(packed), ~known)
    keys = np.sort(sort_keys(packed))[0]
    back, present = key_scores(keys)[:7], (keys & 1)[:7].astype(bool)
    expected = sorted(zip(scores[known].tolist(), truth[known].tolist(), strict=True))
    assert list(zip(back.tolist(), present.tolist(), strict=True)) == expected


def test_kept_rows_are_cut_the_same_way_however_they_came() -> None:
    scores, truth = random_batch(1100, 2000)
    packed = pack(scores, truth)
    whole, pieces = ScoreBuffer(), ScoreBuffer()
    whole.add(packed)
    for part in np.split(packed, [1, 1, 700, 701, 1050]):
        pieces.add(part)
    assert [len(b) for b in whole.blocks()] == [524, 524, 52]
    for one, other in zip(whole.blocks(), pieces.blocks(), strict=True):
        assert np.array_equal(one, other)


def test_beyond_the_limit_every_row_is_folded_once() -> None:
    folded: list[np.ndarray] = []
    kept = ScoreBuffer(limit=1_500_000)
    kept.on_fold(folded.append)
    packed = pack(*random_batch(3000, 1000))
    kept.add(packed[:1400])
    assert kept.whole
    assert not folded
    for part in np.split(packed[1400:], [7, 900]):
        kept.add(part)
    assert not kept.whole
    kept.settle()
    assert np.array_equal(np.concatenate(folded), packed)
    assert not list(kept.blocks())


def test_batches_of_another_width_are_refused() -> None:
    kept = ScoreBuffer()
    kept.add(pack(SCORES, TRUTH))
    with pytest.raises(UserError, match="2 classes after batches of 3"):
        kept.add(pack(SCORES[:, :2], TRUTH[:, :2]))
