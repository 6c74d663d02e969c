"""GLAD: able raters and hard tasks.

J. Whitehill, P. Ruvolo, T. Wu, J. Bergsma, J. Movellan, "Whose Vote Should Count More: Optimal Integration
of Labels from Labelers of Unknown Expertise", NeurIPS 2009. Rater i is right on task j with probability
σ(α_i β_j): *ability* α_i (negative for one who is wrong on purpose), *ease* β_j = exp(b_j). Wrong answers are
equally likely. EM: truths given α and β (Eq. 2), then α and b that maximise Q (Eq. 3 to 5), with the paper's
Gaussian priors of mean and variance 1 on α and b, and equally likely truths.

What the paper leaves open: how far each M-step goes. Here as far as L-BFGS takes it in a few iterations,
from where it stood; EM stops when the largest change of a posterior is small. It begins at α = 1 and b = 1,
as the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dawid_skene import Answers

Floats = NDArray[np.float64]

MEAN = 1.0
"""Of the priors on α and b; their variance is 1."""


@dataclass(frozen=True, eq=False)
class GladFit:
    """Truths, raters and tasks."""

    posterior: Floats
    """(T, K) probability of each truth."""
    ability: Floats
    """(W,) α."""
    ease: Floats
    """(T,) β = exp(b) > 0."""


def glad(
    answers: Answers,
    *,
    iterations: int = 100,
    tolerance: float = 1e-4,
    ability: Floats | None = None,
    steps: int = 25,
) -> GladFit:
    """Abilities, eases and truths by EM; as many truths as answers.

    Args:
        iterations: of EM at most.
        tolerance: stop when no posterior changes by more.
        ability: (W,) known abilities, which stay as they are; default: found.
        steps: of L-BFGS at most, in each M-step.
    """
    raters = answers.raters
    start = np.full(raters, MEAN) if ability is None else ability
    point = np.concatenate([start, np.full(answers.tasks, MEAN)])
    posterior = _truths(answers, point)
    for _ in range(iterations):
        point = _maximise(answers, posterior, point, ability is not None, steps)
        before, posterior = posterior, _truths(answers, point)
        if np.abs(posterior - before).max(initial=0.0) < tolerance:
            break
    return GladFit(posterior, point[:raters], np.exp(point[raters:]))


def _truths(answers: Answers, point: Floats) -> Floats:
    """(T, K) posteriors (Eq. 2)."""
    logit = _logits(answers, point)
    gain = -np.logaddexp(0, -logit) + np.logaddexp(0, logit) + np.log(answers.choices - 1)
    key = answers.task * answers.choices + answers.answer
    joint = np.bincount(key, gain, answers.tasks * answers.choices)
    joint = joint.reshape(answers.tasks, answers.choices)
    joint -= joint.max(1, keepdims=True)
    joint = np.exp(joint)
    return np.asarray(joint / joint.sum(1, keepdims=True))


def _logits(answers: Answers, point: Floats) -> Floats:
    """(R,) α β of each answer."""
    ability, log_ease = point[: answers.raters], point[answers.raters :]
    return np.asarray(ability[answers.rater] * np.exp(log_ease[answers.task]))


def _maximise(
    answers: Answers, posterior: Floats, point: Floats, fixed: bool, steps: int
) -> Floats:
    """α and b with a higher Q (Eq. 3), from ``point``; b alone if α is ``fixed``."""
    from scipy.optimize import minimize

    right = posterior[answers.task, answers.answer]
    free = slice(answers.raters, None) if fixed else slice(0, None)

    def loss(values: Floats) -> tuple[float, Floats]:
        here = point.copy()
        here[free] = values
        q, slope = objective(answers, right, here)
        return -q, -slope[free]

    found = minimize(loss, point[free], jac=True, method="L-BFGS-B", options={"maxiter": steps})
    out = point.copy()
    out[free] = found.x
    return out


def objective(answers: Answers, right: Floats, point: Floats) -> tuple[float, Floats]:
    """Q with the priors, up to a constant, and its slope (Eq. 4 and 5).

    Args:
        right: (R,) probability that each answer is the truth.
        point: (W + T,) α, then b.
    """
    logit = _logits(answers, point)
    likely = right * -np.logaddexp(0, -logit) - (1 - right) * np.logaddexp(0, logit)
    error = right - 1 / (1 + np.exp(-logit))
    ease = np.exp(point[answers.raters :])[answers.task]
    slope = np.concatenate(
        [
            np.bincount(answers.rater, error * ease, answers.raters),
            np.bincount(answers.task, error * logit, answers.tasks),
        ]
    )
    away = point - MEAN
    return float(likely.sum() - 0.5 * (away**2).sum()), slope - away
