"""Heads out of fold, orders, estimates, and learning again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reteach.errors import UserError
from reteach.labels import Multi
from reteach.methods.clean_judges import discriminant
from reteach.review.decisions import ReviewVerdict
from reteach.review.estimate import calibrated, guess, interval, worst_entry
from reteach.review.heads import Lesson, Moments, folds_of, gaussians, out_of_fold
from reteach.review.order import ORDERS, Evidence, add_order, balanced, diverse, order_rows
from reteach.review.prepare import ReviewItems, write_prepared
from reteach.review.prepared import Entries, Opinion
from reteach.review.session import ReviewSession, open_session
from reteach.review.values import Query

N, C = 300, 4
CLASSES = tuple("abcd")


def noisy(seed: int = 0, share: float = 0.25, n: int = N):
    """Features that tell classes a little, and labels of which a share is wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, C, n)
    given = np.where(rng.random(n) < share, (truth + rng.integers(1, C, n)) % C, truth)
    x = 2.5 * np.eye(C, 12)[truth] + rng.normal(size=(n, 12))
    return x.astype(np.float16), given, truth


def lesson_of(x, given, decided=None, usable=None, folds=5) -> tuple[Lesson, Entries]:
    labels = Entries.of(Multi(np.arange(len(given) + 1), given, CLASSES))
    none = np.zeros(len(given), np.bool_)
    lesson = Lesson(
        "single",
        x,
        Moments.of(x, 0),
        labels,
        ~none if usable is None else usable,
        none if decided is None else decided,
        C,
        folds_of(np.arange(len(given), dtype=np.int32), folds, 0),
    )
    return lesson, labels


def session_of(tmp_path: Path, seed: int = 0, **options) -> tuple[ReviewSession, np.ndarray]:
    x, given, truth = noisy(seed, n=options.pop("n", N))
    sets = Multi(np.arange(len(x) + 1), given, CLASSES)
    out = tmp_path / f"{seed}.review"
    names = [f"{i}" for i in range(len(x))]
    write_prepared(out, ReviewItems("single", names, sets, x), folds=5)
    return open_session(out, **{"learn_after": 0, **options}), truth


def decide(session: ReviewSession, rows, truth, tag: str) -> None:
    for c in range(C):
        some = np.asarray(rows)[truth[rows] == c]
        if len(some):
            session.decide("r", some, ReviewVerdict("is", CLASSES[c]), f"{tag}-{c}")


def test_heads_are_the_discriminant_of_clean():
    """Where nothing is decided, and the moments are those of what is learned from."""
    x, given, _ = noisy()
    moments = Moments.of(x, 0)
    z = moments.standardised(x)
    none = np.zeros(N, np.bool_)
    weight, offset = gaussians(z, given, none, C, moments.second)
    logits = z @ weight + offset
    expected = discriminant(x.astype(np.float32), given, x.astype(np.float32), C)
    found = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(found / found.sum(1, keepdims=True), expected, atol=2e-3)


@pytest.mark.parametrize("n", [4, 6, 12, 16])
def test_few_items_of_many_features_are_learned_from(n: int):
    """The moments of all may spread less in a direction than the centres of those learned from."""
    draw = np.random.default_rng(0)
    for _ in range(20):
        x = draw.normal(size=(n, 8)) * draw.uniform(0.1, 4, 8) + 8 * (np.arange(n) % 3)[:, None]
        lesson, labels = lesson_of(x.astype(np.float16), np.arange(n) % 3, folds=2)
        assert np.isfinite(out_of_fold(lesson, labels).scores).all()


def test_an_item_does_not_teach_the_head_that_judges_it():
    """The opinion on an item is the same whatever its own label is."""
    x, given, _ = noisy()
    other = given.copy()
    other[7] = (other[7] + 1) % C
    one, two = (out_of_fold(*lesson_of(x, labels)) for labels in (given, other))
    np.testing.assert_array_equal(one.top[7], two.top[7])
    np.testing.assert_allclose(one.scores[7], two.scores[7], atol=1e-6)
    assert not np.allclose(one.scores, two.scores, atol=1e-6)


def test_copies_lie_in_one_fold():
    copies = np.repeat(np.arange(50, dtype=np.int32), 3)
    fold = folds_of(copies, 5, 0).reshape(50, 3)
    assert (fold == fold[:, :1]).all()
    assert np.bincount(fold[:, 0]).tolist() == [10] * 5


def test_unusable_items_teach_nothing():
    x, given, _ = noisy()
    usable = np.ones(N, np.bool_)
    usable[:50] = False
    other = given.copy()
    other[:50] = 0
    one, two = (
        out_of_fold(lesson_of(x, y, None, usable)[0], lesson_of(x, given)[1])
        for y in (given, other)
    )
    np.testing.assert_array_equal(one.scores, two.scores)


def test_labelled_items_that_are_unlike_the_others_are_learned_from():
    """The picks of a model: what lies between their classes is more than the spread of all items."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, C, N)
    labelled = np.arange(N) < 60
    x = np.where(labelled[:, None], 9 * np.eye(C, 12)[truth], 0) + rng.normal(size=(N, 12))
    found = out_of_fold(*lesson_of(x.astype(np.float16), truth, usable=labelled))
    assert (found.top[labelled, 0] == truth[labelled]).all()
    alone = out_of_fold(*lesson_of(x[labelled].astype(np.float16), truth[labelled]))
    assert (found.top[labelled, 0] == alone.top[:, 0]).all()


def test_what_is_decided_is_not_softened():
    """With every label decided, heads are Gaussians of the labels as they are."""
    x, given, _ = noisy()
    moments = Moments.of(x, 0)
    z = moments.standardised(x)
    weight, _ = gaussians(z, given, np.ones(N, np.bool_), C, moments.second)
    centres = np.stack([z[given == c].mean(0) for c in range(C)])
    share = np.bincount(given, minlength=C) / N
    covariance = moments.second.astype(np.float64) - (centres.T * share) @ centres
    even = np.trace(covariance) / len(covariance)
    covariance = 0.5 * covariance + 0.5 * even * np.eye(len(covariance))
    np.testing.assert_allclose(weight, np.linalg.solve(covariance, centres.T), atol=1e-4)


def test_probabilities_of_sets_are_calibrated(tmp_path: Path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 6))
    present = z[:, :3] + rng.normal(size=(2000, 3)) > (0, 1, -0.5)
    sets = Multi.from_dense(present, CLASSES[:3])
    out = tmp_path / "sets.review"
    names = [f"{i}" for i in range(2000)]
    opinion = (
        write_prepared(out, ReviewItems("multi", names, sets, z.astype(np.float16)))
        .learned()
        .opinion
    )
    scores = np.empty((2000, 3))
    np.put_along_axis(scores, np.asarray(opinion.top, np.int64), np.asarray(opinion.scores), 1)
    for c in range(3):
        assert scores[:, c].mean() == pytest.approx(present[:, c].mean(), abs=0.02)
        high = scores[:, c] > np.quantile(scores[:, c], 0.7)
        assert scores[high, c].mean() == pytest.approx(present[high, c].mean(), abs=0.05)


def test_learning_again_changes_the_order_and_never_a_decision(tmp_path: Path):
    session, truth = session_of(tmp_path)
    before = session.rows(Query(status="all")).copy()
    decide(session, before[:40], truth, "1")
    wrong = session.decide("r", [int(before[50])], ReviewVerdict("is", "a"), "odd")
    assert session.learning().since == 41
    session.relearn()
    state = session.wait()
    assert (state.number, state.since, state.error) == (1, 0, "")
    assert not np.array_equal(session.rows(Query(status="all")), before)
    assert session.items(list(wrong.rows))[0].current == ("a",)
    assert [i.current for i in session.items(before[:40])] == [
        (CLASSES[c],) for c in truth[before[:40]]
    ]
    session.close()
    again = open_session(tmp_path / "0.review", learn_after=0)
    assert again.learning().number == 1
    again.close()


def test_heads_learn_by_themselves_after_some_decisions(tmp_path: Path):
    session, truth = session_of(tmp_path, learn_after=20)
    decide(session, np.arange(30), truth, "1")
    session.wait()
    assert session.learning().number >= 1
    session.close()


def test_offered_items_are_wrong_more_often(tmp_path: Path):
    session, truth = session_of(tmp_path, n=600)
    wrong = session.prepared.given.first != truth
    first = {name: wrong[session.rows(Query(order=name))[:120]].mean() for name in session.orders()}
    assert first["self-confidence"] > 0.8
    assert first["random"] < 0.4
    assert all(share > 0.6 for name, share in first.items() if name != "random")
    session.close()


def evidence(**changes) -> Evidence:
    x, given, _ = noisy()
    lesson, labels = lesson_of(x, given)
    opinion = out_of_fold(lesson, labels)
    base = Evidence(
        "single",
        C,
        labels,
        opinion,
        None,
        None,
        np.asarray(x, np.float32),
        np.zeros((0, 2), np.int64),
    )
    return replace(base, **changes)


def full(found: Evidence) -> np.ndarray:
    scores = np.empty((N, C))
    np.put_along_axis(
        scores, found.opinion.top.astype(np.int64), found.opinion.scores.astype(float), 1
    )
    return scores


def test_orders_are_cleanlabs_formulae():
    """Self-confidence, normalized margin and adjusted probabilities, as cleanlab.rank has them."""
    found = evidence()
    scores, given = full(found), found.given.first
    means = np.array([scores[given == c, c].mean() for c in range(C)])
    shifted = scores - means + means.max()
    shifted /= shifted.sum(1, keepdims=True)
    own = [scores[i, given[i]] for i in range(N)]
    lead = [
        (own[i] - max(p for c, p in enumerate(scores[i]) if c != given[i]) + 1) / 2
        for i in range(N)
    ]
    moved = [shifted[i, given[i]] for i in range(N)]
    for name, quality in (("self-confidence", own), ("margin", lead), ("adjusted", moved)):
        worth = -ORDERS[name](found)
        ranks = (
            np.argsort(np.argsort(worth, kind="stable")),
            np.argsort(np.argsort(quality, kind="stable")),
        )
        assert np.abs(ranks[0] - ranks[1]).max() <= 2, name  # float32 may swap equals


def test_active_lab_brings_decided_items_up_again_where_people_and_model_differ():
    found = evidence()
    scores, given = full(found), found.given.first
    sure = np.argsort(-scores[np.arange(N), given])[:40]  # the model agrees with what was given
    said = np.stack([sure, given[sure]], 1)
    said[:5, 1] = (said[:5, 1] + 1) % C  # and a reviewer says otherwise of five
    order = order_rows("active-lab", replace(found, said=said)).tolist()
    places = {row: at for at, row in enumerate(order)}
    odd, agreed = ([places[r] for r in rows.tolist()] for rows in (sure[:5], sure[5:]))
    assert max(odd) < min(agreed)


def test_disagreement_needs_a_second_model_and_puts_contradictions_first():
    found = evidence()
    with pytest.raises(UserError, match="needs a second model"):
        order_rows("disagreement", found)
    given = found.given.first
    second = Opinion(
        np.stack([(given + k) % C for k in range(C)], 1).astype(np.int32),
        np.tile(np.array([0.7, 0.1, 0.1, 0.1], np.float32), (N, 1)),
        np.full(N, 0.7, np.float32),
    )
    order = order_rows("disagreement", replace(found, second=second))
    contradicts = found.opinion.top[:, 0] != given
    assert contradicts[order[: contradicts.sum()]].all()


def test_raters_order_needs_raters():
    found = evidence()
    with pytest.raises(UserError, match="needs raters"):
        order_rows("raters", found)
    dispute = np.linspace(0, 1, N, dtype=np.float32)
    assert order_rows("raters", replace(found, dispute=dispute))[0] == N - 1


def test_an_order_of_ones_own_can_be_added():
    add_order("by-number", lambda e: np.arange(len(e.given), dtype=np.float32))
    try:
        assert order_rows("by-number", evidence())[0] == N - 1
        with pytest.raises(UserError, match="the name is taken"):
            add_order("random", ORDERS["random"])
    finally:
        del ORDERS["by-number"]


@pytest.mark.parametrize("name", ["worth", "margin+fast"])
def test_an_order_that_does_not_exist_is_refused(name: str):
    with pytest.raises(UserError):
        order_rows(name, evidence())


def test_balanced_takes_the_classes_in_turn():
    rng = np.random.default_rng(0)
    label = rng.choice(3, 90, p=[0.7, 0.2, 0.1]).astype(np.int32)
    order = rng.permutation(90)
    found = balanced(order, label)
    assert sorted(found.tolist()) == list(range(90))
    assert sorted(label[found[:3]].tolist()) == [0, 1, 2]
    for c in range(3):  # within a class, as before
        np.testing.assert_array_equal(found[label[found] == c], order[label[order] == c])


def test_diverse_keeps_alike_items_apart():
    rng = np.random.default_rng(0)
    near = np.concatenate([np.zeros((60, 4)), rng.normal(size=(340, 4)) * 10]).astype(np.float32)
    order = np.arange(400)
    found = diverse(order, near)
    assert sorted(found.tolist()) == list(range(400))
    assert (found[:100] < 60).sum() < 20 < (order[:100] < 60).sum()


def test_unlabelled_items_come_last_and_count_as_no_noise(tmp_path: Path):
    x, given, _ = noisy()
    starts = np.concatenate([[0], np.cumsum(np.arange(N) >= 10)])
    sets = Multi(starts, given[10:], CLASSES)
    out = tmp_path / "some.review"
    write_prepared(out, ReviewItems("single", [f"{i}" for i in range(N)], sets, x))
    session = open_session(out, learn_after=0)
    assert sorted(session.rows(Query()).tolist()[-10:]) == list(range(10))
    assert [item.doubt for item in session.items(range(10))] == [0] * 10
    session.close()


def test_the_guess_is_em_in_slow_loops():
    """The transition by expectation maximisation, and the posterior, with all classes kept."""
    found = evidence()
    scores, given = full(found), found.given.first
    none = np.zeros(0, np.int64)
    doubt = worst_entry("single", found.given, found.opinion)
    fast = guess("single", C, found.given, found.opinion, doubt, found.given, none)
    best = None
    for warmth in (0.5, 0.67, 1.0, 1.4):
        p = scores**warmth
        p /= p.sum(1, keepdims=True)
        table = np.full((C, C), 0.1) + 0.6 * np.eye(C)
        for _ in range(40):
            counts = np.full((C, C), 1e-3)
            total = []
            for i in range(N):
                both = np.array([table[given[i], c] * p[i, c] for c in range(C)])
                total.append(both.sum())
                counts[given[i]] += both / both.sum()
            table = counts / counts.sum(0)
        value = np.log(total).mean()
        if best is None or value > best[0]:
            slow = []
            for i in range(N):
                both = np.array([table[given[i], c] * p[i, c] for c in range(C)])
                slow.append(1 - both[given[i]] / both.sum())
            best = (value, slow)
    np.testing.assert_allclose(fast, best[1], atol=2e-3)


def test_intervals_hold_the_truth_and_narrow(tmp_path: Path):
    held, widths = [], []
    for seed in range(4):
        session, truth = session_of(tmp_path, seed, n=600)
        wrong = session.prepared.given.first != truth
        order = session.rows(Query(status="all")).copy()
        for a, b in ((0, 60), (60, 200), (200, 400)):
            decide(session, order[a:b], truth, f"{a}")
            progress = session.progress()
            assert progress.noise_now is not None
            assert progress.found is not None
            assert progress.next_100 is not None
            left = wrong[order[b:]].sum() / 600
            held.append(progress.noise_now.low - 1e-3 <= left <= progress.noise_now.high + 1e-3)
            widths.append(progress.noise_now.high - progress.noise_now.low)
            assert progress.found.low <= progress.found.value <= progress.found.high
            assert progress.changed == wrong[order[:b]].sum()
        session.close()
    assert np.mean(held) >= 0.75
    assert np.mean(widths[2::3]) < np.mean(widths[::3])


def test_the_curve_moves_with_what_people_find():
    guessed = np.full(200, 0.5, np.float32)
    low = calibrated("single", guessed, np.zeros(200, np.bool_))
    high = calibrated("single", guessed, np.ones(200, np.bool_))
    nothing = calibrated("single", guessed[:0], np.zeros(0, np.bool_))
    assert low(guessed)[0] < 0.1 < nothing(guessed)[0] < 0.9 < high(guessed)[0]
    assert interval(low.total(guessed)).high < interval(high.total(guessed)).low
    wide, narrow = interval(nothing.total(guessed)), interval(low.total(guessed))
    assert wide.high - wide.low > narrow.high - narrow.low


def test_nothing_is_said_of_the_noise_of_sets_before_people_said_something(tmp_path: Path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(80, 4))
    sets = Multi.from_dense(z[:, :3] > 0, CLASSES[:3])
    out = tmp_path / "sets.review"
    write_prepared(
        out, ReviewItems("multi", [f"{i}" for i in range(80)], sets, z.astype(np.float16))
    )
    session = open_session(out, learn_after=0)
    assert session.progress().noise_before is None
    session.decide("r", range(40), ReviewVerdict("right"), "1")
    found = session.progress().noise_now
    assert found is not None
    assert found.value < 0.5
    session.close()


def test_features_that_do_not_fit_are_refused(tmp_path: Path):
    x, given, _ = noisy()
    sets = Multi(np.arange(N + 1), given, CLASSES)
    names = [f"{i}" for i in range(N)]
    broken = x.copy()
    broken[3, 2] = np.nan
    with pytest.raises(UserError, match="the features of '3' are not finite"):
        write_prepared(tmp_path / "a.review", ReviewItems("single", names, sets, broken))
    assert not list(tmp_path.iterdir())
    write_prepared(tmp_path / "b.review", ReviewItems("single", names, sets, x), folds=3)
    with pytest.raises(UserError, match="exists already"):
        write_prepared(tmp_path / "b.review", ReviewItems("single", names, sets, x))
