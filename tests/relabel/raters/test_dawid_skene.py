"""Dawid & Skene: against plain loops, by hand, and by what must hold for any answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raters_oracle as oracle
from reteach.relabel.raters import dawid_skene as raters
from reteach.relabel.raters.dawid_skene import Answers, count_confusions, dawid_skene, truths_given


@st.composite
def answers(draw: st.DrawFn) -> Answers:
    tasks, workers, choices = (
        draw(st.integers(1, 8)),
        draw(st.integers(1, 4)),
        draw(st.integers(2, 4)),
    )
    one = st.tuples(
        st.integers(0, tasks - 1), st.integers(0, workers - 1), st.integers(0, choices - 1)
    )
    rows = np.array(draw(st.lists(one, min_size=1, max_size=30)))
    return Answers(rows[:, 0], rows[:, 1], rows[:, 2], tasks, workers, choices)


def simulated(seed: int = 0, tasks: int = 400, right: float = 0.75) -> tuple[Answers, np.ndarray]:
    """Five answers of ten raters per task, three classes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, tasks)
    task = np.repeat(np.arange(tasks), 5)
    rater = np.concatenate([rng.permutation(10)[:5] for _ in range(tasks)])
    wrong = (truth[task] + rng.integers(1, 3, len(task))) % 3
    answer = np.where(rng.random(len(task)) < right, truth[task], wrong)
    return Answers(task, rater, answer, tasks, 10, 3), truth


def listed(a: Answers) -> list[oracle.Answer]:
    return list(zip(a.task.tolist(), a.rater.tolist(), a.answer.tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(answers(), st.integers(1, 6), st.sampled_from([0.0, 0.01, 1.0]))
def test_equals_the_loops(a: Answers, rounds: int, smoothing: float) -> None:
    found = dawid_skene(a, a.shares(), iterations=rounds, tolerance=-1, smoothing=smoothing)
    posterior, trace = oracle.dawid_skene(
        listed(a), a.shares().tolist(), a.raters, a.choices, rounds, smoothing
    )
    answered = np.unique(a.task)
    np.testing.assert_allclose(found.posterior[answered], np.array(posterior)[answered], atol=1e-9)
    np.testing.assert_allclose(found.log_likelihood, trace, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(answers())
def test_more_truths_or_fewer_than_answers(a: Answers) -> None:
    rng = np.random.default_rng(a.tasks)
    for truths in (2, 5):
        start = rng.dirichlet(np.ones(truths), a.tasks)
        found = dawid_skene(a, start, iterations=3, tolerance=-1)
        posterior, _ = oracle.dawid_skene(listed(a), start.tolist(), a.raters, a.choices, 3)
        answered = np.unique(a.task)
        np.testing.assert_allclose(
            found.posterior[answered], np.array(posterior)[answered], atol=1e-8
        )


def test_by_hand() -> None:
    # Rater 0: yes, yes; rater 1: yes, no. The votes start at (0, 1) and (1/2, 1/2).
    a = Answers(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([1, 1, 1, 0]), 2, 2, 2)
    assert a.shares().tolist() == [[0.0, 1.0], [0.5, 0.5]]
    found = dawid_skene(a, a.shares(), iterations=1, tolerance=-1)
    # M: prior (1/4, 3/4); rater 0 always says yes; rater 1 says no in 1 of 1 and 1/2 of 3/2.
    # E: task 0: (1/4·1·0, 3/4·1·2/3); task 1: (1/4·1·1, 3/4·1·1/3).
    np.testing.assert_allclose(found.posterior, [[0, 1], [0.5, 0.5]], atol=1e-9)
    assert found.log_likelihood[0] == pytest.approx(2 * math.log(0.5), abs=1e-8)
    known = truths_given(
        a, np.array([0.5, 0.5]), np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.5, 0.5]]])
    )
    np.testing.assert_allclose(known[:, 1], [0.4 / (0.4 + 0.04), 0.4 / (0.4 + 0.06)])


def test_likelihood_never_falls_and_truth_is_found() -> None:
    a, truth = simulated()
    found = dawid_skene(a, a.shares(), iterations=200, tolerance=1e-12)
    assert found.converged
    assert (np.diff(found.log_likelihood) > -1e-9).all()
    assert (found.posterior.argmax(1) == truth).mean() > (a.shares().argmax(1) == truth).mean()
    expected = np.full((3, 3), 0.125)
    np.fill_diagonal(expected, 0.75)
    np.testing.assert_allclose(found.confusion.mean(0), expected, atol=0.04)


def test_perfect_raters_are_believed() -> None:
    a, truth = simulated(right=1.0)
    found = dawid_skene(a, a.shares(), iterations=5)
    assert (found.posterior.argmax(1) == truth).all()
    assert found.posterior.max(1).min() > 1 - 1e-9


def test_order_of_answers_moves_nothing_but_rounding() -> None:
    a, _ = simulated()
    order = np.random.default_rng(1).permutation(len(a.task))
    b = Answers(a.task[order], a.rater[order], a.answer[order], a.tasks, a.raters, a.choices)
    one, two = (dawid_skene(x, x.shares(), iterations=20, tolerance=-1) for x in (a, b))
    np.testing.assert_array_equal(one.posterior, two.posterior)


def test_patterns_hold_every_row_once() -> None:
    a, _ = simulated(tasks=3000)
    matrix = a.matrix()
    row, pattern = raters._patterns(matrix)
    assert len(row) < a.tasks
    assert (matrix[row][pattern] != matrix).nnz == 0


def test_a_hash_collision_keeps_rows_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = simulated()
    collapsed = dawid_skene(a, a.shares(), iterations=10, tolerance=-1)
    monkeypatch.setattr(raters, "_hashes", lambda matrix: np.zeros(matrix.shape[0], np.uint64))
    row, pattern = raters._patterns(a.matrix())
    np.testing.assert_array_equal(row, np.arange(a.tasks))
    np.testing.assert_array_equal(pattern, np.arange(a.tasks))
    apart = dawid_skene(a, a.shares(), iterations=10, tolerance=-1)
    np.testing.assert_allclose(collapsed.posterior, apart.posterior, atol=1e-12)


@pytest.mark.parametrize(("tasks", "pairs"), [(3000, True), (40, False)])
def test_pairs_of_answers_multiply_to_the_matrix(tasks: int, pairs: bool) -> None:
    """Rows of an even and an odd number of answers, and empty ones; pairs only where they recur."""
    a, _ = simulated(tasks=tasks)
    keep = np.random.default_rng(1).random(len(a.task)) < 0.7
    a = Answers(a.task[keep], a.rater[keep], a.answer[keep], tasks + 2, 10, 3)
    votes = raters._AnswerPairs.of(a.matrix())
    assert (votes.groups is not None) == pairs
    whole = a.matrix() if votes.groups is None else votes.rows @ votes.groups
    assert (whole != a.matrix()).nnz == 0
    column, weights = np.random.default_rng(2).random(30), np.ones((2, tasks + 2))
    np.testing.assert_allclose(votes.sums(column), a.matrix() @ column)
    np.testing.assert_array_equal(votes.counts(weights), [a.matrix().sum(0).A1] * 2)


def test_answers_given_twice_are_not_paired() -> None:
    a, _ = simulated(tasks=3000)
    twice = Answers(*(np.append(x, x[:5]) for x in (a.task, a.rater, a.answer)), 3000, 10, 3)
    assert raters._AnswerPairs.of(twice.matrix()).groups is None


def test_unanswered_tasks_get_the_prior_and_do_not_move_it() -> None:
    a, _ = simulated()
    more = Answers(a.task, a.rater, a.answer, a.tasks + 7, a.raters, a.choices)
    one, two = (dawid_skene(x, x.shares(), iterations=9, tolerance=-1) for x in (a, more))
    np.testing.assert_allclose(one.posterior, two.posterior[: a.tasks], atol=1e-12)
    np.testing.assert_allclose(one.prior, two.prior, atol=1e-12)


def test_counts_are_counts() -> None:
    a, truth = simulated()
    counts = count_confusions(a, np.eye(3)[truth])
    expected = np.zeros((10, 3, 3))
    for task, rater, answer in listed(a):
        expected[rater, truth[task], answer] += 1
    np.testing.assert_array_equal(counts, expected)


def test_equals_crowd_kit() -> None:
    """Same posteriors after the same number of iterations; crowd-kit clips its own at 1e-10."""
    aggregation = pytest.importorskip("crowdkit.aggregation")
    import pandas as pd

    a, _ = simulated(tasks=300)
    frame = pd.DataFrame({"task": a.task, "worker": a.rater, "label": a.answer})
    for rounds in (1, 2, 30):
        model = aggregation.DawidSkene(n_iter=rounds, tol=-1e9).fit(frame)
        expected = model.probas_.sort_index()[[0, 1, 2]].to_numpy()
        found = dawid_skene(a, a.shares(), iterations=rounds, tolerance=-1)
        np.testing.assert_allclose(found.posterior, expected, atol=1e-9)
