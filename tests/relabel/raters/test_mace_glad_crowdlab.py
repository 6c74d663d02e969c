"""MACE, GLAD and CROWDLAB: against literal versions, published code, and raters whose quality is known."""

from __future__ import annotations

import numpy as np
import pytest

import raters_oracle as oracle
from reteach.relabel.raters.crowdlab import crowdlab
from reteach.relabel.raters.dawid_skene import Answers
from reteach.relabel.raters.glad import glad, objective
from reteach.relabel.raters.mace import mace

Rows = list[tuple[int, int, int]]


def drawn(
    seed: int,
    *,
    tasks: int = 30,
    raters: int = 6,
    choices: int = 2,
    votes: int = 4,
    skill: np.ndarray | None = None,
) -> tuple[Answers, Rows, np.ndarray]:
    """Raters who are right as often as their skill says; the last task has no answer."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, choices, tasks)
    skill = rng.uniform(0.55, 0.95, raters) if skill is None else skill
    rows = []
    for i in range(tasks - 1):
        for j in rng.permutation(raters)[:votes].tolist():
            other = (truth[i] + 1 + rng.integers(choices - 1)) % choices
            rows.append((i, j, int(truth[i] if rng.random() < skill[j] else other)))
    task, rater, answer = np.array(rows).T
    return Answers(task, rater, answer, tasks, raters, choices), rows, truth


def with_maybes(answers: Answers, rows: Rows) -> tuple[Answers, Rows]:
    """*no, yes* become *no, maybe, yes*, and every fifth answer a *maybe*."""
    more = [(i, j, 1 if k % 5 == 0 else 2 * a) for k, (i, j, a) in enumerate(rows)]
    said = np.array([a for _, _, a in more])
    return Answers(answers.task, answers.rater, said, answers.tasks, answers.raters, 3), more


@pytest.mark.parametrize("seed", range(2))
def test_mace_equals_the_sums_over_who_knew(seed: int) -> None:
    answers, rows, _ = drawn(seed, choices=3)
    found = mace(answers, np.arange(3), iterations=6, tolerance=-1)
    posterior, theta, xi = oracle.mace(rows, answers.tasks, 6, 3, [0, 1, 2], 6)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-10)
    np.testing.assert_allclose(found.competence, theta, atol=1e-10)
    np.testing.assert_allclose(found.spam, xi, atol=1e-10)


def test_mace_takes_a_maybe_for_spam() -> None:
    answers, rows = with_maybes(*drawn(0)[:2])
    found = mace(answers, np.array([0, -1, 1]), iterations=6, tolerance=-1)
    posterior, theta, xi = oracle.mace(rows, answers.tasks, 6, 3, [0, -1, 1], 6)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-10)
    np.testing.assert_allclose(found.competence, theta, atol=1e-10)
    np.testing.assert_allclose(found.spam, xi, atol=1e-10)
    table = found.confusion(np.array([0, -1, 1]))
    np.testing.assert_allclose(table.sum(2), 1)
    assert table[0, 1, 2] == pytest.approx(theta[0] + (1 - theta[0]) * xi[0][2])


def test_mace_finds_the_planted_spammers() -> None:
    """Six raters who know 90, 70 and 50% and two who say *yes* always, and at random."""
    rng = np.random.default_rng(0)
    know = np.array([0.9, 0.9, 0.7, 0.7, 0.5, 0.5, 0.0, 0.0])
    truth = rng.random(600) < 0.4
    rows = []
    for i in range(600):
        for j in rng.permutation(8)[:5].tolist():
            spam = 1 if j == 6 else int(rng.random() < 0.5)
            rows.append((i, j, int(truth[i]) if rng.random() < know[j] else spam))
    task, rater, answer = np.array(rows).T
    answers = Answers(task, rater, answer, 600, 8, 2)
    found = mace(answers, np.arange(2))
    np.testing.assert_allclose(found.competence, know, atol=0.12)
    assert found.spam[6, 1] > 0.95
    right = (found.posterior.argmax(1) == truth).mean()
    assert right > (answers.shares().argmax(1) == truth).mean() + 0.05
    assert np.all(np.diff(found.log_likelihood) > -1e-2)


def test_glad_objective_and_slope_equal_the_paper() -> None:
    answers, rows, _ = drawn(1, choices=3)
    rng = np.random.default_rng(0)
    point = rng.normal(1, 0.5, answers.raters + answers.tasks)
    ability, b = point[:6].tolist(), point[6:].tolist()
    posterior = oracle.glad_posterior(rows, answers.tasks, 3, ability, np.exp(b).tolist())
    right = np.array([posterior[i][a] for i, _, a in rows])

    def literal(where: np.ndarray) -> float:
        return oracle.glad_objective(rows, posterior, 3, where[:6].tolist(), where[6:].tolist())

    q, slope = objective(answers, right, point)
    constant = (1 - right).sum() * np.log(2)  # two wrong answers, equally likely
    assert q - constant == pytest.approx(literal(point), abs=1e-9)
    for at in (0, 4, 7, 20, len(point) - 1):
        step = np.zeros(len(point))
        step[at] = 1e-5
        assert slope[at] == pytest.approx(
            (literal(point + step) - literal(point - step)) / 2e-5, abs=1e-5
        )


def test_glad_stops_where_neither_step_changes_anything() -> None:
    answers, rows, _ = drawn(2)
    found = glad(answers, iterations=200, tolerance=1e-7, steps=100)
    posterior = oracle.glad_posterior(
        rows, answers.tasks, 2, found.ability.tolist(), found.ease.tolist()
    )
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-9)
    right = np.array([posterior[i][a] for i, _, a in rows])
    _, slope = objective(answers, right, np.concatenate([found.ability, np.log(found.ease)]))
    assert np.abs(slope).max() < 1e-3


def test_glad_finds_planted_ability_and_ease() -> None:
    rng = np.random.default_rng(1)
    ability = np.array([-1.5, 0.3, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8])
    log_ease = rng.normal(0.3, 1, 800)
    truth = rng.integers(0, 2, 800)
    rows = []
    for i in range(800):
        for j in range(8):
            right = rng.random() < 1 / (1 + np.exp(-ability[j] * np.exp(log_ease[i])))
            rows.append((i, j, int(truth[i]) if right else 1 - int(truth[i])))
    task, rater, answer = np.array(rows).T
    answers = Answers(task, rater, answer, 800, 8, 2)
    found = glad(answers)
    assert np.corrcoef(found.ability, ability)[0, 1] > 0.98
    assert found.ability[0] < 0 < found.ability[1]  # the one who says the contrary is seen
    assert np.corrcoef(np.log(found.ease), log_ease)[0, 1] > 0.4
    vote = (answers.shares().argmax(1) == truth).mean()
    assert (found.posterior.argmax(1) == truth).mean() > vote + 0.03
    again = glad(answers, ability=found.ability)
    np.testing.assert_array_equal(again.ability, found.ability)
    np.testing.assert_allclose(again.posterior, found.posterior, atol=0.02)


def model_of(truth: np.ndarray, choices: int, right: float, seed: int = 0) -> np.ndarray:
    """Probabilities that are highest at the truth so often."""
    rng = np.random.default_rng(seed)
    first = np.where(rng.random(len(truth)) < right, truth, rng.integers(0, choices, len(truth)))
    out = rng.uniform(0.05, 0.3, (len(truth), choices))
    out[np.arange(len(truth)), first] += 1
    return np.asarray(out / out.sum(1, keepdims=True))


@pytest.mark.parametrize("seed", range(3))
def test_crowdlab_equals_its_equations(seed: int) -> None:
    answers, rows, truth = drawn(seed, choices=3, votes=3)
    rows = [row for k, row in enumerate(rows) if k % 3 or row[0] > 8]  # some tasks have one answer
    rows = [row for row in rows if row[1] != 5 or row[0] == 0]
    rows = [row for row in rows if row[0] or row[1] == 5] + [(0, 5, 1)] * (
        not any(row[:2] == (0, 5) for row in rows)
    )
    task, rater, answer = np.array(rows).T
    answers = Answers(task, rater, answer, answers.tasks, 6, 3)
    model = model_of(truth, 3, 0.8, seed)
    found = crowdlab(answers, model)
    posterior, weight, weights = oracle.crowdlab(rows, model.tolist(), 6)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-12)
    np.testing.assert_allclose(found.model_weight, weight)
    np.testing.assert_allclose(found.rater_weight, weights)
    assert np.isnan(found.agreement[5])  # alone with the one task


def test_crowdlab_trusts_whom_it_should() -> None:
    skill = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.4])
    answers, _, truth = drawn(3, tasks=600, choices=3, votes=3, skill=skill)
    vote = answers.shares().argmax(1)[:-1]
    for accuracy in (0.9, 0.0):
        model = model_of(truth, 3, accuracy)
        found = crowdlab(answers, model)
        order = np.argsort(found.agreement)[::-1]
        np.testing.assert_array_equal(order, np.arange(6))
        right = (found.posterior.argmax(1)[:-1] == truth[:-1]).mean()
        assert right > (vote == truth[:-1]).mean() + 0.03
        assert (found.model_weight > 1) == (accuracy > 0.5)


def frame(answers: Answers) -> object:
    """Sorted: crowd-kit's MACE counts spam by sorted workers and looks it up in order of appearance."""
    pandas = pytest.importorskip("pandas")
    rows = {"task": answers.task, "worker": answers.rater, "label": answers.answer}
    return pandas.DataFrame(rows).sort_values(["worker", "label"])


def test_crowdlab_equals_cleanlab() -> None:
    multi = pytest.importorskip("cleanlab.multiannotator", reason="cleanlab is not installed")
    answers, _, truth = drawn(5, tasks=80, choices=3, votes=3)
    keep = answers.task < 79
    wide = np.full((79, 6), np.nan)
    wide[answers.task[keep], answers.rater[keep]] = answers.answer[keep]
    model = model_of(truth, 3, 0.8)[:79]
    found = crowdlab(Answers(answers.task, answers.rater, answers.answer, 79, 6, 3), model)
    theirs = multi.get_label_quality_multiannotator(
        wide, model, consensus_method="majority_vote", return_weights=True, verbose=False
    )
    np.testing.assert_allclose(found.model_weight, theirs["model_weight"])
    np.testing.assert_allclose(found.rater_weight, theirs["annotator_weight"])


def test_mace_and_glad_agree_with_crowdkit() -> None:
    mace_ = pytest.importorskip("crowdkit.aggregation.classification.mace")
    glad_ = pytest.importorskip("crowdkit.aggregation.classification.glad")
    skill = np.array([0.95, 0.85, 0.8, 0.7, 0.6, 0.3])
    answers, _, _ = drawn(4, tasks=300, votes=5, skill=skill)
    keep = slice(0, 299)
    ours = mace(answers, np.arange(2), iterations=400, tolerance=-1, smoothing=0.01)  # as theirs
    model = mace_.MACE(method="em", n_restarts=3, n_iter=400, random_state=0)
    theirs = model.fit_predict_proba(frame(answers))
    assert np.abs(ours.posterior[keep] - theirs.sort_index()[[0, 1]].to_numpy()).max() < 1e-3
    able = glad(answers)
    other = glad_.GLAD(n_iter=50).fit(frame(answers))
    assert np.corrcoef(able.ability, other.alphas_.sort_index())[0, 1] > 0.99
    same = able.posterior[keep].argmax(1) == other.labels_.sort_index().to_numpy()
    assert same.mean() > 0.98
