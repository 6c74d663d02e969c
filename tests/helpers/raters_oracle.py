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
