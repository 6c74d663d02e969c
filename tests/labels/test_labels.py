"""Label sets against plain Python sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reteach.errors import UserError
from reteach.labels import Multi, Single, Soft, as_multi, rebalanced, stratified

CLASSES = ("a", "b", "c", "d")
SETS = st.lists(st.sets(st.integers(0, 3)), max_size=8)


def multi(sets: list[set[int]]) -> Multi:
    rows = np.array([i for i, s in enumerate(sets) for _ in s], np.int64)
    columns = np.array([c for s in sets for c in sorted(s, reverse=True)], np.int64)
    return Multi.from_pairs(rows, columns, len(sets), CLASSES)


def as_sets(labels: Multi) -> list[set[str]]:
    return [set(names) for names in labels.names()]


@given(SETS, st.data())
def test_multi_follows_python_sets(sets, data):
    labels = multi(sets)
    named = [{CLASSES[c] for c in s} for s in sets]
    assert as_sets(labels) == named
    assert [set(np.flatnonzero(row)) for row in labels.array()] == sets
    rows = data.draw(st.lists(st.integers(0, len(sets) - 1), max_size=6)) if sets else []
    assert as_sets(labels.take(np.array(rows, np.int64))) == [named[r] for r in rows]
    assert as_sets(labels.restrict(("d", "b"))) == [s & {"b", "d"} for s in named]
    assert as_sets(labels.reorder(("z", *CLASSES[::-1]))) == named
    assert labels.counts().tolist() == [sum(c in s for s in sets) for c in range(4)]


@given(SETS, SETS)
def test_union(first, second):
    n = min(len(first), len(second))
    united = multi(first[:n]).union(multi(second[:n]))
    assert as_sets(united) == [
        {CLASSES[c] for c in a | b} for a, b in zip(first[:n], second[:n], strict=True)
    ]


def test_no_label_has_two_meanings():
    single = Single(np.array([1, -1]), CLASSES)
    assert single.known().tolist() == [True, False]
    assert single.array().sum(1).tolist() == [1, 0]
    assert multi([{1}, set()]).known().tolist() == [True, True]
    assert single.restrict(("a", "b")).index.tolist() == [1, -1]
    assert single.restrict(("a",)).index.tolist() == [-1, -1]


def test_dense_matches_array():
    soft = Soft.from_dense(np.array([[0.1, 0, 0.9, 0], [0, 0, 0, 0]], np.float32), CLASSES)
    for labels in (soft, multi([{0, 3}, set()]), Single(np.array([2, -1]), CLASSES)):
        assert np.array_equal(labels.dense().numpy(), labels.array())
    assert soft.argmax().index.tolist() == [2, -1]
    shares = Soft(
        np.array([0, 2, 3, 5, 5]), np.array([0, 2, 3, 1, 2]), CLASSES, [0.5, 0.5, 0.4, 0, 1]
    )
    assert shares.sole().index.tolist() == [-1, 3, 2, -1]  # a weight of 0 is no share
    assert multi([{2}, set()]).as_single().index.tolist() == [2, -1]
    assert as_multi(Single(np.array([2, -1]), CLASSES)).names() == [["c"], []]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Single(np.array([4]), CLASSES), r"\[-1, 4\)"),
        (lambda: Single(np.array([0]), ("a", "a")), "listed twice"),
        (lambda: Soft.from_dense(np.array([[np.nan]]), ("a",), -1).weights, ""),
        (lambda: multi([{0, 1}]).as_single(), "2 labels"),
        (lambda: multi([{0}]).reorder(("b",)), "'a'"),
        (lambda: multi([{0}]).restrict(("x",)), "'x'"),
        (lambda: stratified(multi([{0}]), 0, 1), r"\(0, 1\]"),
        (lambda: rebalanced(multi([set()])), "at least one label"),
    ],
)
def test_errors_are_for_users(make, words):
    if not words:
        assert len(make()) == 0  # NaN is not above any least weight
        return
    with pytest.raises(UserError, match=words):
        make()


def test_take_is_stable_under_masks_and_slices():
    labels = multi([{0}, {1, 2}, set(), {3}])
    mask = np.array([True, False, True, True])
    assert labels.take(mask).names() == labels.take(np.flatnonzero(mask)).names()
    assert labels.take(slice(1, 3)).names() == [["b", "c"], []]


def test_fractions_are_balanced_and_nested():
    index = np.repeat(np.arange(4), [400, 200, 100, 3])
    labels = Single(np.append(index, -1), CLASSES)
    shares = {f: stratified(labels, f, seed=5) for f in (0.01, 0.05, 0.1, 1.0)}
    for fraction, rows in shares.items():
        expected = [max(1, round(fraction * n)) for n in (400, 200, 100, 3)]
        assert labels.take(rows).counts().tolist() == expected
    assert set(shares[0.01]) <= set(shares[0.05]) <= set(shares[0.1]) <= set(shares[1.0])
    assert not np.array_equal(shares[0.1], stratified(labels, 0.1, seed=6))


def test_fractions_of_soft_labels_are_balanced_by_their_weights():
    """Every item has an entry for each class, as teachers' scores do: the weights say which one it is of."""
    rng = np.random.default_rng(0)
    heaviest = np.repeat(np.arange(4), [40, 30, 20, 10])
    weights = rng.uniform(0.01, 0.4, (100, 4)).astype(np.float32)
    weights[np.arange(100), heaviest] = 0.5
    soft = Soft.from_dense(weights, CLASSES)
    rows = stratified(soft, 0.1, seed=0)
    assert np.bincount(heaviest[rows], minlength=4).tolist() == [4, 3, 2, 1]
    assert rows.tolist() == stratified(Single(heaviest, CLASSES), 0.1, seed=0).tolist()


def test_fractions_of_label_sets_count_for_the_rarest_class():
    sets = multi([{0, 1}] * 10 + [{0}] * 30 + [set()])
    rows = stratified(sets, 0.1, seed=0)
    assert [(rows < 10).sum(), (rows >= 10).sum(), (rows == 40).sum()] == [1, 3, 0]


def test_rebalancing_draws_each_class_equally():
    labels = Single(np.array([0] * 90 + [1] * 9 + [3] + [-1]), CLASSES)
    p = rebalanced(labels)
    assert p.sum() == pytest.approx(1)
    assert p[-1] == 0
    per_class = [p[labels.index == c].sum() for c in (0, 1, 3)]
    assert per_class == pytest.approx([1 / 3] * 3)
    both = multi([{0, 1}, {0}])
    assert rebalanced(both) == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_rebalancing_weights_an_image_by_its_class_frequency_to_the_exponent(exponent):
    counts = [90, 9, 0, 1]
    labels = Single(np.repeat(np.arange(4), counts), CLASSES)
    weights = [counts[c] ** -exponent for c in labels.index]
    p = rebalanced(labels, exponent)
    assert p == pytest.approx([w / sum(weights) for w in weights])
    per_class = [p[labels.index == c].sum() for c in (0, 1, 3)]
    roots = [n ** (1 - exponent) for n in (90, 9, 1)]
    assert per_class == pytest.approx([r / sum(roots) for r in roots])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_rebalancing_weighs_soft_labels_by_their_weights_not_by_their_number(exponent):
    """A class that a teacher thinks of everywhere, a little, is not a frequent one."""
    draw = np.random.default_rng(0)
    weights = draw.dirichlet((5.0, 1.0, 0.2), 40).astype(np.float32)
    weights[weights < 0.02] = 0
    weights[7] = 0  # nothing is known of it
    soft = Soft.from_dense(weights, CLASSES[:3])
    p = rebalanced(soft, exponent)
    frequency = [sum(float(row[c]) for row in weights) for c in range(3)]
    shares = [
        sum(float(row[c]) * frequency[c] ** -exponent for c in range(3) if row[c])
        for row in weights
    ]
    assert p == pytest.approx([share / sum(shares) for share in shares])
    assert p[7] == 0


def test_rebalancing_soft_labels_of_one_class_each_is_rebalancing_single_ones():
    labels = Single(np.array([0] * 9 + [1] * 3 + [2]), CLASSES)
    soft = Soft.from_dense(labels.array(), CLASSES)
    assert rebalanced(soft, 0.5) == pytest.approx(rebalanced(labels, 0.5))
    doubtful = Soft.from_dense(np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]]), CLASSES[:2])
    assert rebalanced(doubtful)[2] > rebalanced(doubtful)[0] * 1.4, (
        "all have an entry of each class"
    )


def gaps() -> Multi:
    """Three items, in which it is unknown whether some classes are present."""
    unknown = multi([{1}, set(), {0, 1, 2, 3}])
    return multi([{0, 3}, {2}, set()]).with_unknown(unknown)


def test_unknown_is_neither_present_nor_absent():
    labels = gaps()
    assert labels.names() == [["a", "d"], ["c"], []]
    known = [[1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert labels.known_entries().tolist() == np.array(known, bool).tolist()
    assert labels.known().tolist() == [True, True, False]
    assert labels.counts().tolist() == [1, 0, 1, 1]
    assert multi([{0}]).known_entries() is None
    assert Single(np.array([-1]), CLASSES).known_entries() is None
    assert gaps().with_unknown(multi([set()] * 3)).unknown is None


def test_unknown_goes_where_its_items_and_classes_go():
    labels = gaps()
    taken = labels.take(np.array([2, 0, 2]))
    assert taken.unknown.names() == [["a", "b", "c", "d"], ["b"], ["a", "b", "c", "d"]]
    assert labels.take(slice(1, 2)).unknown is None
    narrowed = labels.restrict(("d", "b"))
    assert narrowed.names() == [["d"], [], []]
    assert narrowed.unknown.names() == [["b"], [], ["d", "b"]]
    wider = labels.reorder(("z", "d", "c", "b", "a"))
    assert wider.unknown.names() == [["b"], [], ["d", "c", "b", "a"]]
    assert as_multi(labels) is labels
    with pytest.raises(UserError, match="first: 'b'"):
        multi([{0}]).with_unknown(multi([{1}])).reorder(("a",))


def test_dense_arrays_with_gaps_come_back():
    draw = np.random.default_rng(0)
    present, known = draw.random((2, 20, 4)) < 0.5
    labels = Multi.from_dense(present, CLASSES, known)
    assert (labels.present() == (present & known)).all()
    assert (labels.known_entries() == known).all()


def test_a_union_knows_what_either_knows():
    mine = multi([{0}, {1}]).with_unknown(multi([{1, 2}, {0}]))
    other = multi([{1}, set()]).with_unknown(multi([{2, 3}, {0, 1}]))
    both = mine.union(other)
    assert both.names() == [["a", "b"], ["b"]]
    assert both.unknown.names() == [["c"], ["a"]]
    assert mine.union(multi([set(), set()])).unknown is None


def test_unknown_entries_are_part_of_the_digest_and_nothing_else_is():
    bare = multi([{0, 3}, {2}, set()])
    assert gaps().digest() != bare.digest()
    assert gaps().digest() == gaps().digest()
    assert bare.with_unknown(None).digest() == bare.digest()


def test_present_and_unknown_is_a_contradiction():
    with pytest.raises(UserError, match="row 1 has class 'c' as present and as unknown"):
        multi([{0}, {2}]).with_unknown(multi([{1}, {2, 3}]))


def test_held_out_shares_of_soft_labels_follow_the_heaviest_class():
    """Every item has an entry for each class: the first entry would put all into one class."""
    from reteach.data.dataset import _first

    heaviest = np.array([2, 1, 0, 3, 2])
    weights = np.full((5, 4), 0.1, np.float32)
    weights[np.arange(5), heaviest] = 0.7
    assert _first(Soft.from_dense(weights, CLASSES)).tolist() == heaviest.tolist()
