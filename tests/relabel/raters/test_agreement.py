"""α, κ and pairwise agreement, against the published examples and the literal formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

import raters_oracle as oracle
from reteach.relabel.raters.agreement import (
    agreement,
    agreement_on_classes,
    alpha_interval,
    fleiss,
    krippendorff,
    pairwise,
)
from reteach.relabel.raters.dawid_skene import Answers

PUBLISHED = (  # Krippendorff (2011), section C: 4 observers, 12 units, 5 values, 7 missing
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
FLEISS = np.array(  # the worked example of Fleiss' κ: 14 raters, 10 subjects, 5 categories
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


def units_of(rows: tuple[str, ...]) -> list[list[int]]:
    return [[int(v) for v in unit if v != "."] for unit in zip(*map(str.split, rows), strict=True)]


def counts_of(units: list[list[int]], choices: int) -> np.ndarray:
    return np.array([[values.count(c) for c in range(choices)] for values in units])


def random_units(seed: int, units: int = 40, choices: int = 3) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, choices, units)
    return [
        [
            int(t) if rng.random() < 0.7 else int(rng.integers(choices))
            for _ in range(rng.integers(0, 6))
        ]
        for t in truth
    ]


def test_alpha_of_the_published_example() -> None:
    units = units_of(PUBLISHED)
    assert krippendorff(counts_of(units, 6)) == pytest.approx(0.743, abs=5e-4)
    assert oracle.krippendorff(units) == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize("seed", range(3))
def test_alpha_with_missing_answers_equals_its_coincidences(seed: int) -> None:
    units = random_units(seed)
    assert any(len(u) < 2 for u in units)
    assert krippendorff(counts_of(units, 3)) == pytest.approx(oracle.krippendorff(units), abs=1e-12)


def test_kappa_of_the_published_example() -> None:
    found = fleiss(FLEISS)
    assert found.value == pytest.approx(0.210, abs=5e-4)
    assert (found.answers, found.units, found.left_out) == (14, 10, 0)


def test_kappa_takes_the_units_with_the_usual_number_of_answers_and_counts_the_rest() -> None:
    units = [[0, 0, 1], [1, 1, 1], [0, 1, 2], [2, 2, 2], [0, 0], [1], []]
    found = fleiss(counts_of(units, 3))
    assert found.value == pytest.approx(oracle.fleiss(units[:4], 3), abs=1e-12)
    assert (found.answers, found.units, found.left_out) == (3, 4, 2)
    assert math.isnan(fleiss(counts_of([[0], [1]], 2)).value)


def test_agreement_where_one_answer_is_all_there_is_is_unknown_and_not_perfect() -> None:
    same = counts_of([[1, 1], [1, 1, 1]], 3)
    assert math.isnan(krippendorff(same))
    assert math.isnan(fleiss(same).value)
    assert math.isnan(alpha_interval(same, np.arange(2)).low)


def test_alpha_interval_draws_whole_items() -> None:
    """With all units copied ten times into their item, the interval stays as wide."""
    counts = counts_of(random_units(4, 60), 3)
    item = np.arange(len(counts)) // 2
    once = alpha_interval(counts, item)
    copied = alpha_interval(np.tile(counts, (10, 1)), np.tile(item, 10))
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.1)
    apart = alpha_interval(np.tile(counts, (10, 1)), np.arange(10 * len(counts)))
    assert apart.high - apart.low < 0.5 * (once.high - once.low)
    assert once.low < once.value < once.high


def test_alpha_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)

    def drawn(units: int) -> np.ndarray:
        truth = rng.random(units) < 0.3
        said = np.where(rng.random((units, 3)) < 0.85, truth[:, None], ~truth[:, None])
        yes = said.sum(1)
        return np.stack([3 - yes, yes], axis=1)

    true = krippendorff(drawn(400_000))
    found = [alpha_interval(drawn(80), np.arange(80), draws=300, seed=s) for s in range(100)]
    assert 86 <= sum(each.low <= true <= each.high for each in found) <= 99


def answers_of(units: list[list[int]], choices: int, seed: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    rows = [
        (u, w, a)
        for u, values in enumerate(units)
        for w, a in zip(rng.permutation(6), values, strict=False)
    ]
    task, rater, answer = np.array(rows).T
    return Answers(task, rater, answer, len(units), 6, choices)


def test_each_two_raters_are_counted_on_what_both_answered() -> None:
    answers = answers_of(random_units(1), 3)
    names = [f"r{w}" for w in range(6)]
    said = {(t, w): a for t, w, a in zip(answers.task, answers.rater, answers.answer, strict=True)}
    found = {(each.first, each.second): each for each in pairwise(answers, names)}
    for v in range(6):
        for w in range(v + 1, 6):
            both = [t for t in range(answers.tasks) if (t, v) in said and (t, w) in said]
            same = sum(said[t, v] == said[t, w] for t in both)
            pair = found.get((names[v], names[w]))
            assert ((pair.both, pair.same) if pair else (0, 0)) == (len(both), same)
    shares = [pair.same / pair.both for pair in found.values()]
    assert len(found) > 10
    assert [p.same / p.both for p in pairwise(answers, names)] == sorted(shares)


def test_alpha_of_each_class_is_that_of_its_units() -> None:
    units = random_units(2)
    answers = answers_of(units, 3)
    about = np.arange(len(units)) % 2
    found = agreement(answers, list("abcdef"), np.arange(len(units)), about, ["cat", "dog", "owl"])
    assert set(found.classes) == {"cat", "dog"}  # nobody was asked about owls
    for c, name in enumerate(("cat", "dog")):
        mine = [u for u, a in zip(units, about, strict=True) if a == c]
        assert found.classes[name].value == pytest.approx(oracle.krippendorff(mine))
    pairs = [(a, b) for values in units for i, a in enumerate(values) for b in values[i + 1 :]]
    assert (found.both, found.same) == (len(pairs), sum(a == b for a, b in pairs))


def test_alpha_of_a_named_class_is_against_all_others() -> None:
    units = random_units(3)
    found = agreement_on_classes(
        answers_of(units, 3), list("abcdef"), np.arange(len(units)), ["cat", "dog", "owl"]
    )
    for c, name in enumerate(("cat", "dog", "owl")):
        split = [[int(a == c) for a in values] for values in units]
        assert found.classes[name].value == pytest.approx(oracle.krippendorff(split))
    assert found.alpha.value == pytest.approx(oracle.krippendorff(units))
