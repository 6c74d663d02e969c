"""From answers to labels, against plain loops."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import raters_oracle as oracle
from rating_cases import random_ratings
from reteach.errors import UserError
from reteach.labels import Multi, Single
from reteach.relabel.raters import consensus
from reteach.relabel.raters.golden_scores import golden_scores
from reteach.relabel.raters.ratings import MAYBE, NO, YES, Ratings
from reteach.relabel.raters.reference_labels import with_gold, with_originals
from reteach.tables import LabelTable


def by_loops(r: Ratings, group: np.ndarray) -> list[float]:
    """The golden mode, one answer after the other, as the published labels were made."""
    truth = {p: int(g > 0.5) for p, g in enumerate(r.gold) if not math.isnan(g)}
    prior = sum(truth.values()) / len(truth)
    tables: dict[int, list[list[float]]] = {}
    for w, p, a in zip(r.rater, r.pair, r.answer, strict=True):
        if p in truth:
            tables.setdefault(int(w), [[1.0] * 3, [1.0] * 3])[truth[p]][a] += 1
    for table in tables.values():
        for row in table:
            row[:] = [cell / sum(row) for cell in row]
    mean = [[sum(t[k][a] for t in tables.values()) / len(tables) for a in range(3)] for k in (0, 1)]
    virtual = [[1.0] * 3, [1.0] * 3]
    for p in truth:
        is_original = r.original[r.pair_item[p]] == r.pair_class[p]
        virtual[int(r.gold[p] >= 0.4)][YES if is_original else NO] += 1
    for row in virtual:
        row[:] = [cell / sum(row) for cell in row]
    out = []
    for p in range(len(r.pair_item)):
        logit = math.log(prior / (1 - prior))
        for w, a in zip(r.rater[r.pair == p], r.answer[r.pair == p], strict=True):
            table = tables.get(int(w), mean)
            logit += math.log(table[1][a] / table[0][a])
        if group[r.pair_class[p]]:
            is_original = r.original[r.pair_item[p]] == r.pair_class[p]
            a = YES if is_original else NO
            logit += math.log(virtual[1][a] / virtual[0][a])
        out.append(1 / (1 + math.exp(-logit)))
    return out


@pytest.mark.parametrize("seed", range(3))
def test_golden_equals_the_loops(seed: int) -> None:
    ratings = random_ratings(seed)
    group = np.arange(6) < 2
    found = consensus.golden(ratings, group=group)
    np.testing.assert_allclose(found.score, by_loops(ratings, group), atol=1e-13)
    assert found.raters[-1] == consensus.VIRTUAL


def test_golden_gives_a_rater_without_golden_answers_the_mean() -> None:
    ratings = random_ratings()
    drop = (ratings.rater == 3) & ratings.golden[ratings.pair]
    ratings = replace(
        ratings,
        rater=ratings.rater[~drop],
        pair=ratings.pair[~drop],
        answer=ratings.answer[~drop],
    )
    nobody = np.zeros(6, np.bool_)
    found = consensus.golden(ratings, group=nobody)
    np.testing.assert_allclose(found.score, by_loops(ratings, nobody), atol=1e-13)
    np.testing.assert_allclose(found.confusion[3], np.delete(found.confusion, 3, 0).mean(0))


def test_golden_answers_may_stand_apart() -> None:
    ratings = random_ratings()
    kept = ratings.rater > 0
    apart = replace(
        ratings,
        raters=ratings.raters[1:],
        rater=ratings.rater[kept] - 1,
        pair=ratings.pair[kept],
        answer=ratings.answer[kept],
    )
    found = consensus.golden(ratings, calibration=apart)
    same = consensus.golden(apart)
    np.testing.assert_allclose(found.confusion[1:], same.confusion)
    np.testing.assert_allclose(found.confusion[0], same.confusion.mean(0))


def test_golden_without_smoothing_stays_finite() -> None:
    ratings = random_ratings()
    seen = ratings.golden[ratings.pair]
    answer = np.where(seen & (ratings.answer == MAYBE), NO, ratings.answer)
    found = consensus.golden(
        replace(ratings, answer=answer), group=np.ones(6, np.bool_), smoothing=0.0
    )
    assert (answer == MAYBE).any()
    assert np.isfinite(found.score).all()
    assert len(np.unique(found.score)) > 10


def test_em_equals_the_loops() -> None:
    ratings = random_ratings()
    group = np.arange(6) < 2
    found = consensus.em(ratings, group=group, iterations=7, tolerance=-1, smoothing=1.0)
    full = consensus.with_original(ratings, group)
    answers = list(zip(full.pair.tolist(), full.rater.tolist(), full.answer.tolist(), strict=True))
    counts = np.zeros((len(ratings.pair_item), 3))
    for pair, _, answer in answers:
        counts[pair, answer] += 1
    yes = (counts[:, YES] + counts[:, MAYBE] / 2) / counts.sum(1)
    start = np.stack([1 - yes, yes], axis=1).tolist()
    posterior, trace = oracle.dawid_skene(answers, start, len(full.raters), 3, 7, 1.0)
    np.testing.assert_allclose(found.score, np.array(posterior)[:, 1], atol=1e-9)
    np.testing.assert_allclose(found.log_likelihood, trace)


def test_majority_keeps_or_drops_ties() -> None:
    ratings = random_ratings()
    counts = ratings.counts()
    score = consensus.majority(ratings).score
    np.testing.assert_array_equal(score >= 0.5, counts[:, YES] >= counts[:, NO])
    np.testing.assert_array_equal(score >= np.nextafter(0.5, 1), counts[:, YES] > counts[:, NO])
    assert (counts[:, YES] == counts[:, NO]).any()


def test_labels_keep_the_original_of_unrated_items_only() -> None:
    ratings = random_ratings()
    score = np.linspace(0, 1, len(ratings.pair_item))
    found = consensus.labels(ratings, score, 0.8)
    rated = set(ratings.pair_item.tolist())
    for item, names in enumerate(found.names()):
        if item in rated:
            pairs = np.flatnonzero((ratings.pair_item == item) & (score >= 0.8))
            assert names == [ratings.classes[c] for c in sorted(ratings.pair_class[pairs])]
        else:
            assert names == [ratings.classes[ratings.original[item]]]
    assert any(not names for names in found.names())


def test_virtual_rater_answers_about_the_group_alone() -> None:
    ratings = random_ratings()
    group = np.array([False, True, False, False, True, False])
    found = consensus.with_original(ratings, group)
    new = found.rater == len(ratings.raters)
    np.testing.assert_array_equal(
        np.sort(found.pair[new]), np.flatnonzero(group[ratings.pair_class])
    )
    said_yes = found.pair[new][found.answer[new] == YES]
    assert ratings.pair_original()[said_yes].all()
    assert (found.answer[new] != MAYBE).all()


def test_golden_needs_gold() -> None:
    ratings = random_ratings()
    nothing = replace(ratings, gold=np.full(len(ratings.gold), np.nan))
    with pytest.raises(UserError, match="'em' or 'majority'"):
        consensus.golden(nothing)
    with pytest.raises(UserError, match="all true or all false"):
        consensus.golden(replace(ratings, gold=np.ones(len(ratings.gold))))


def test_known_labels_join_by_name() -> None:
    ratings = random_ratings()
    items = (*reversed(ratings.items), "extra.jpg")
    classes = ("another", *reversed(ratings.classes))
    label = np.append(len(ratings.classes) - ratings.original[::-1], 0)
    joined = with_originals(ratings, LabelTable(items, Single(label, classes)))
    assert joined.items == list(items)
    for before, after in ((ratings, joined),):
        assert [before.items[i] for i in before.pair_item] == [
            after.items[i] for i in after.pair_item
        ]
        assert [before.classes[c] for c in before.pair_class] == [
            after.classes[c] for c in after.pair_class
        ]
    np.testing.assert_array_equal(ratings.pair_original(), joined.pair_original())
    assert consensus.labels(joined, np.zeros(len(joined.gold)), 0.5).names()[-1] == ["another"]
    with pytest.raises(UserError, match="rated items are not among"):
        with_originals(ratings, LabelTable(("x",), Single(np.array([0]), classes)))


def test_gold_labels_make_pairs_golden() -> None:
    ratings = random_ratings()
    table = LabelTable(
        (ratings.items[4], "elsewhere.jpg"),
        Multi.from_pairs(np.array([0]), np.array([1]), 2, ratings.classes),
    )
    found = with_gold(replace(ratings, gold=np.full(len(ratings.gold), np.nan)), table)
    asked, new = found.take(found.pair_item == 4), found.items.index("elsewhere.jpg")
    said = dict(zip(asked.pair_class.tolist(), asked.gold.tolist(), strict=True))
    assert said.pop(1) == 1
    assert set(said) == set(ratings.pair_class[ratings.pair_item == 4].tolist()) - {1}
    assert set(said.values()) == {0.0}
    assert found.gold[found.pair_item == new].tolist() == [0.0]  # told to be empty
    assert set(found.pair_item[found.golden].tolist()) == {4, new}
    np.testing.assert_array_equal(
        found.take(found.pair_item < 4).answer, ratings.take(ratings.pair_item < 4).answer
    )
    with pytest.raises(UserError, match="none of the items with gold"):
        with_gold(ratings, replace(table, items=("a", "b")))


def test_virtual_rater_says_nothing_where_there_is_no_original_label() -> None:
    """Its table is counted on images with one: an image without is no *no*."""
    ratings = random_ratings()
    group = np.ones(6, np.bool_)
    golden_items = np.unique(ratings.pair_item[ratings.golden])
    without = golden_items[::2]
    fewer = replace(
        ratings, original=np.where(np.isin(np.arange(60), without), -1, ratings.original)
    )
    only = replace(
        ratings, gold=np.where(np.isin(ratings.pair_item, without), np.nan, ratings.gold)
    )
    found, expected = (consensus.golden(r, group=group) for r in (fewer, only))
    np.testing.assert_allclose(found.confusion[-1], expected.confusion[-1])


def test_golden_scores_are_cross_fitted_by_image_with_fewer_votes() -> None:
    """Against loops: each image's pairs by the tables of the other images' folds."""
    ratings = random_ratings(images=60)
    group = np.arange(6) < 2
    found = consensus.golden(ratings, group=group)
    scores = golden_scores(ratings, found, group=group, seed=4)
    images = np.unique(ratings.pair_item[ratings.golden])
    fold = np.random.default_rng(4).permutation(len(images)) % 10
    expected = np.full(len(ratings.pair_item), np.nan)
    for number in range(10):
        mine = np.isin(ratings.pair_item, images[fold == number])
        others = replace(ratings, gold=np.where(mine, np.nan, ratings.gold))
        expected[mine] = np.array(by_loops(others, group))[mine]
    np.testing.assert_allclose(scores, expected[ratings.golden][None], atol=1e-12)
    assert len(golden_scores(ratings, found, group=group, votes=2)) > 1  # three votes: drawn
    single = ratings.take(~ratings.golden | (ratings.pair_item == images[0]))
    with pytest.raises(UserError, match="one golden image is too few"):
        golden_scores(single, consensus.golden(single))


def simulation() -> ModuleType:
    """The benchmark's simulated raters."""
    file = Path(__file__).resolve().parents[3] / "benchmarks" / "gold_votes.py"
    spec = importlib.util.spec_from_file_location("gold_votes", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("method", ["golden", "em"])
@pytest.mark.parametrize("precision", [None, 0.9])
def test_precision_and_recall_on_gold_hold_on_the_rest(
    method: str, precision: float | None
) -> None:
    """Golden images are answered by all raters, the others by five; mean over simulated worlds."""
    judged = simulation().judged
    rows = np.array([judged(seed, method, precision) for seed in range(6)])
    gap = rows[:, :2].mean(0) - rows[:, 2:].mean(0)
    assert np.abs(gap).max() < 0.03
    own = np.array([judged(seed, method, precision, own=True) for seed in range(2)])
    assert (own[:, 1] - own[:, 3]).min() > 0.05  # what the golden pairs' own scores would claim
