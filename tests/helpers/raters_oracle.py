"""Slow, literal versions of the raters' consensus: one answer after the other, in plain floats."""

from __future__ import annotations

import math
from collections.abc import Sequence

Answer = tuple[int, int, int]  # task, rater, answer


def maximize(
    answers: Sequence[Answer],
    posterior: list[list[float]],
    raters: int,
    choices: int,
    smooth: float,
) -> tuple[list[float], list[list[list[float]]]]:
    """Dawid & Skene, Eq. (2.3) and (2.4), over the tasks that were answered."""
    truths = len(posterior[0])
    tasks = sorted({task for task, _, _ in answers})
    prior = [sum(posterior[t][k] for t in tasks) / len(tasks) for k in range(truths)]
    confusion = [[[smooth] * choices for _ in range(truths)] for _ in range(raters)]
    for task, rater, answer in answers:
        for k in range(truths):
            confusion[rater][k][answer] += posterior[task][k]
    given = {(rater, answer) for _, rater, answer in answers}
    for rater, table in enumerate(confusion):
        for row in table:
            row[:] = [max(p, 1e-10) if (rater, a) in given else p for a, p in enumerate(row)]
            total = sum(row) or 1.0
            row[:] = [cell / total for cell in row]
    return prior, confusion


def expect(
    answers: Sequence[Answer], prior: list[float], confusion: list[list[list[float]]], tasks: int
) -> tuple[list[list[float]], float]:
    """Eq. (2.5): posteriors of all tasks, and the log-likelihood of the answered ones."""
    joint = [list(prior) for _ in range(tasks)]
    answered = {task for task, _, _ in answers}
    for task, rater, answer in answers:
        joint[task] = [p * confusion[rater][k][answer] for k, p in enumerate(joint[task])]
    likelihood = math.fsum(math.log(sum(joint[task])) for task in answered)
    return [[p / sum(row) for p in row] for row in joint], likelihood


def dawid_skene(
    answers: Sequence[Answer],
    start: list[list[float]],
    raters: int,
    choices: int,
    rounds: int,
    smooth: float = 0.0,
) -> tuple[list[list[float]], list[float]]:
    """Posteriors after so many rounds, and the log-likelihood at each."""
    posterior, trace = start, []
    for _ in range(rounds):
        prior, confusion = maximize(answers, posterior, raters, choices, smooth)
        posterior, likelihood = expect(answers, prior, confusion, len(start))
        trace.append(likelihood)
    return posterior, trace


def krippendorff(units: Sequence[Sequence[int]]) -> float:
    """Nominal α from the matrix of observed coincidences, value by value (Krippendorff, 2011, section C)."""
    together: dict[tuple[int, int], float] = {}
    for values in units:
        for a, first in enumerate(values):
            for b, second in enumerate(values):
                if a != b:
                    key = (first, second)
                    together[key] = together.get(key, 0.0) + 1 / (len(values) - 1)
    names = sorted({first for first, _ in together})
    total = {c: sum(together.get((c, k), 0.0) for k in names) for c in names}
    n = sum(total.values())
    observed = sum(v for (c, k), v in together.items() if c != k)
    expected = sum(total[c] * total[k] for c in names for k in names if c != k) / (n - 1)
    return 1 - observed / expected if expected else math.nan


def fleiss(units: Sequence[Sequence[int]], choices: int) -> float:
    """κ of units with the same number of answers: P̄ and P̄_e as in Fleiss (1971)."""
    n, subjects = len(units[0]), len(units)
    share = [sum(values.count(c) for values in units) / (n * subjects) for c in range(choices)]
    extent = [
        sum(values.count(c) * (values.count(c) - 1) for c in range(choices)) / (n * (n - 1))
        for values in units
    ]
    mean, chance = sum(extent) / subjects, sum(p * p for p in share)
    return (mean - chance) / (1 - chance)


def mace(
    answers: Sequence[Answer],
    tasks: int,
    raters: int,
    choices: int,
    named: Sequence[int],
    iterations: int,
    smooth: float = 0.1,
) -> tuple[list[list[float]], list[float], list[list[float]]]:
    """Posteriors, θ and ξ of MACE, with S_ij and T_i summed out one by one; uniform truths."""
    truths = max(named) + 1
    theta, xi = [0.5] * raters, [[1 / choices] * choices for _ in range(raters)]

    def joint(task: int, truth: int) -> float:
        p = 1 / truths
        for i, j, a in answers:
            if i == task:
                p *= theta[j] * (named[a] == truth) + (1 - theta[j]) * xi[j][a]
        return p

    def truths_now() -> list[list[float]]:
        rows = [[joint(i, t) for t in range(truths)] for i in range(tasks)]
        return [[p / sum(row) for p in row] for row in rows]

    for _ in range(iterations):
        posterior = truths_now()
        knew = [smooth / choices] * raters
        spam = [[smooth / choices] * choices for _ in range(raters)]
        spammed = [smooth / choices] * raters
        for i, j, a in answers:
            for t in range(truths):
                by_knowing = theta[j] * (named[a] == t)
                share = by_knowing / (by_knowing + (1 - theta[j]) * xi[j][a])
                knew[j] += posterior[i][t] * share
                spam[j][a] += posterior[i][t] * (1 - share)
                spammed[j] += posterior[i][t] * (1 - share)
        theta = [k / (k + s) for k, s in zip(knew, spammed, strict=True)]
        xi = [[x / sum(row) for x in row] for row in spam]
    return truths_now(), theta, xi


def glad_posterior(
    answers: Sequence[Answer], tasks: int, choices: int, ability: list[float], ease: list[float]
) -> list[list[float]]:
    """Eq. 2 of GLAD: truths given α and β."""
    rows = [[1.0] * choices for _ in range(tasks)]
    for j, i, a in answers:
        right = 1 / (1 + math.exp(-ability[i] * ease[j]))
        for k in range(choices):
            rows[j][k] *= right if k == a else (1 - right) / (choices - 1)
    return [[p / sum(row) for p in row] for row in rows]


def glad_objective(
    answers: Sequence[Answer],
    posterior: list[list[float]],
    choices: int,
    ability: list[float],
    log_ease: list[float],
) -> float:
    """Eq. 3 of GLAD: the expected log-likelihood, with the Gaussian priors on α and log β."""
    q = 0.0
    for j, i, a in answers:
        right = 1 / (1 + math.exp(-ability[i] * math.exp(log_ease[j])))
        for k in range(choices):
            p = right if k == a else (1 - right) / (choices - 1)
            q += posterior[j][k] * math.log(p)
    return q - sum((x - 1) ** 2 for x in (*ability, *log_ease)) / 2


def crowdlab(
    answers: Sequence[Answer], model: list[list[float]], raters: int
) -> tuple[list[list[float]], float, list[float]]:
    """CROWDLAB's posteriors, the model's weight and the raters', task by task and rater by rater."""
    tasks, choices = len(model), len(model[0])
    said = [{j: a for i, j, a in answers if i == task} for task in range(tasks)]
    votes = [[list(s.values()).count(k) for k in range(choices)] for s in said]
    label = [
        max(range(choices), key=lambda k, i=i: (votes[i][k], model[i][k])) for i in range(tasks)
    ]  # type: ignore[misc]
    several = [i for i in range(tasks) if len(said[i]) > 1]
    accuracy = sum(votes[i][label[i]] / len(said[i]) for i in several) / len(several)
    most = max(range(choices), key=lambda k: sum(label[i] == k for i in several))
    chance = max(sum(label[i] != most for i in several) / len(several), 1e-6)
    wrong = sum(model[i].index(max(model[i])) != label[i] for i in several) / len(several)
    answered = [i for i in range(tasks) if said[i]]
    mean = sum(len(said[i]) for i in answered) / len(answered)
    model_weight = max(1 - wrong / chance, 1e-6) * math.sqrt(mean)
    alike: list[float] = []
    for j in range(raters):
        others = [
            said[i][other] == said[i][j]
            for i in range(tasks)
            if j in said[i]
            for other in said[i]
            if other != j
        ]
        alike.append(sum(others) / len(others) if others else math.nan)
    known = [s for s in alike if s == s]
    weights = [
        max(1 - (1 - (s if s == s else sum(known) / len(known))) / chance, 1e-6) for s in alike
    ]
    out = []
    for i in range(tasks):
        total = model_weight + sum(weights[j] for j in said[i])
        row = []
        for k in range(choices):
            p = model_weight * model[i][k]
            for j, a in said[i].items():
                p += weights[j] * (accuracy if a == k else (1 - accuracy) / (choices - 1))
            row.append(p / total)
        out.append(row)
    return out, model_weight, weights
