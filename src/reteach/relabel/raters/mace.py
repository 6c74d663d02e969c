"""MACE: raters who either know, or spam.

D. Hovy, T. Berg-Kirkpatrick, A. Vaswani, E. Hovy, "Learning Whom to Trust with MACE", NAACL 2013. Task i
has a truth T_i, uniform over K. Rater j knows it with probability θ_j (*competence*) and then says it, or
spams, and then says l with probability ξ_jl whatever the truth is. EM as in Section 3, with the paper's
smoothing of 0.1 / L added to the expected counts.

What the paper leaves open, and what we do:

* It restarts EM from many random points. We start once, at θ = 1/2 and uniform ξ for everybody: the first
  truths are then those of a vote, and the result is the same each time.
* All answers are truths there. Ours may be more (*maybe*): such an answer is said by spamming alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dawid_skene import Answers

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

SMOOTHING = 0.1


@dataclass(frozen=True, eq=False)
class MaceFit:
    """Truths and raters."""

    posterior: Floats
    """(T, K) probability of each truth."""
    competence: Floats
    """(W,) θ: how often the rater knows."""
    spam: Floats
    """(W, L) ξ: what the rater says when spamming."""
    log_likelihood: tuple[float, ...]
    """log p(answers) of the parameters before each iteration."""

    def confusion(self, truth: Indices) -> Floats:
        """(W, K, L) probability of each answer under each truth, as Dawid & Skene write it.

        Args:
            truth: (L,) see :func:`mace`.
        """
        knows = truth[None, :] == np.arange(self.posterior.shape[1])[:, None]
        spam = (1 - self.competence)[:, None] * self.spam
        return np.asarray(self.competence[:, None, None] * knows + spam[:, None, :])


def mace(
    answers: Answers,
    truth: Indices,
    *,
    iterations: int = 100,
    tolerance: float = 1e-7,
    smoothing: float = SMOOTHING,
) -> MaceFit:
    """Competences and truths by EM.

    Args:
        truth: (L,) the truth that each answer names, -1 for one that names none.
        iterations: at most so many.
        tolerance: stop when the log-likelihood changes by less than this per answer; below zero: never.
        smoothing: divided by L and added to each expected count.
    """
    task, rater, said = answers.task, answers.rater, np.asarray(answers.answer, np.int64)
    raters, choices, truths = answers.raters, answers.choices, int(truth.max()) + 1
    competence: Floats = np.full(raters, 0.5)
    spam: Floats = np.full((raters, choices), 1 / choices)
    named = truth[said]
    row = np.maximum(named, 0)
    trace: list[float] = []
    answered = np.bincount(task, minlength=answers.tasks) > 0
    add = smoothing / choices
    for _ in range(iterations):
        posterior, evidence, knows = _expect(answers, named, truths, competence, spam)
        trace.append(float(evidence[answered].sum()))
        if len(trace) > 1 and abs(trace[-1] - trace[-2]) < tolerance * len(said):
            break
        known = np.where(named >= 0, posterior[task, row] * knows, 0.0)
        by_answer = np.bincount(rater * choices + said, 1 - known, raters * choices)
        by_answer = by_answer.reshape(raters, choices)
        knew = np.bincount(rater, known, raters) + add
        competence = np.asarray(knew / (knew + by_answer.sum(1) + add), np.float64)
        spam = np.asarray((by_answer + add) / (by_answer + add).sum(1, keepdims=True), np.float64)
    posterior, _, _ = _expect(answers, named, truths, competence, spam)
    return MaceFit(posterior, competence, spam, tuple(trace))


def _expect(
    answers: Answers, named: Indices, truths: int, competence: Floats, spam: Floats
) -> tuple[Floats, Floats, Floats]:
    """(T, K) posteriors, (T,) log-evidence, and (R,) how surely each answer was known if it is the truth."""
    by_spam = (1 - competence[answers.rater]) * spam[answers.rater, answers.answer]
    right = competence[answers.rater] + by_spam
    ratio = np.log(right) - np.log(by_spam)
    key = answers.task * truths + np.maximum(named, 0)
    joint = np.bincount(key, np.where(named >= 0, ratio, 0.0), answers.tasks * truths)
    joint = joint.reshape(answers.tasks, truths) - np.log(truths)
    joint += np.bincount(answers.task, np.log(by_spam), answers.tasks)[:, None]
    top = joint.max(1, keepdims=True)
    total = np.exp(joint - top).sum(1, keepdims=True)
    evidence = top + np.log(total)
    return np.exp(joint - evidence), evidence[:, 0], competence[answers.rater] / right
