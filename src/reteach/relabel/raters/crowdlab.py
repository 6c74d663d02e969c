"""CROWDLAB: raters and a model together.

H. W. Goh, U. Tkachenko, J. Mueller, "CROWDLAB: Supervised learning to infer consensus labels and quality
scores for data with multiple annotators", 2022. The truth's probability is a weighted mean of a trained
model's and of one for each rater, who is right as often as raters agree with the majority (Eq. 2 to 4);
weights come from how much better than the most frequent class the model is, and each rater agrees with the
others (Eq. 5 to 8).

As the authors' own code does it: a majority vote that is tied goes to the class that the model finds
likelier; weights are at least 1e-6; tasks with one answer do not tell how good anybody is; a rater without
answers beside others' has the mean weight. Model scores must be held out: a model that was trained on these
answers agrees with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dawid_skene import Answers

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class CrowdlabFit:
    """Truths, and how much whom to trust."""

    posterior: Floats
    """(T, K) probability of each truth."""
    model_weight: float
    rater_weight: Floats
    """(W,)"""
    accuracy: float
    """P: how often an answer is the majority's."""
    agreement: Floats
    """(W,) share of the others' answers to the same tasks that are like the rater's; NaN: none to compare."""

    def judge(self, answers: Answers, model: Floats) -> Floats:
        """(T, K) posteriors of other answers of the same raters.

        Args:
            model: (T, K) the model's probabilities.
        """
        weight = self.rater_weight[answers.rater]
        wrong = (1 - self.accuracy) / (answers.choices - 1)
        total = self.model_weight + np.bincount(answers.task, weight, answers.tasks)
        key = answers.task * answers.choices + answers.answer
        extra = np.bincount(key, weight * (self.accuracy - wrong), model.size).reshape(model.shape)
        by_raters = extra + (np.bincount(answers.task, weight, answers.tasks) * wrong)[:, None]
        return np.asarray((self.model_weight * model + by_raters) / total[:, None])


def crowdlab(answers: Answers, model: Floats) -> CrowdlabFit:
    """Weights and truths; as many truths as answers.

    Args:
        answers: at most one of each rater to each task.
        model: (T, K) held-out probabilities of the truths; rows sum to 1.

    Raises:
        ValueError: no task has two answers.
    """
    counts = _counts(answers)
    given = counts.sum(1)
    several = given > 1
    if not several.any():
        raise ValueError("no task has two answers")
    vote = majority(counts, model)
    hits = counts[np.arange(len(counts)), vote] / np.maximum(given, 1)
    accuracy = float(hits[several].mean())
    frequent = np.bincount(vote[several]).argmax()
    chance = max(float((vote[several] != frequent).mean()), LEAST)
    model_error = float((model.argmax(1) != vote)[several].mean())
    answered = given > 0
    model_weight = max(1 - model_error / chance, LEAST) * float(np.sqrt(given[answered].mean()))
    like = _agreement(answers, counts)
    error = 1 - np.where(np.isnan(like), np.nanmean(like), like)
    weight = np.maximum(1 - error / chance, LEAST)
    fit = CrowdlabFit(model, model_weight, weight, accuracy, like)
    return CrowdlabFit(fit.judge(answers, model), model_weight, weight, accuracy, like)


def majority(counts: Indices, model: Floats) -> Indices:
    """(T,) the most frequent answer, of several the one that the model finds likeliest."""
    best = counts == counts.max(1, keepdims=True)
    return np.asarray(np.where(best, model, -1.0).argmax(1))


def _agreement(answers: Answers, counts: Indices) -> Floats:
    """(W,) s: over all answers of others to the rater's tasks, the share that is like the rater's."""
    alike = counts[answers.task, answers.answer] - 1
    others = counts.sum(1)[answers.task] - 1
    same = np.bincount(answers.rater, alike, answers.raters)
    total = np.bincount(answers.rater, others, answers.raters)
    return np.where(total > 0, same / np.maximum(total, 1), np.nan)


def _counts(answers: Answers) -> Indices:
    """(T, K) how many raters gave each answer."""
    key = answers.task * answers.choices + answers.answer
    counts = np.bincount(key, minlength=answers.tasks * answers.choices)
    return counts.reshape(answers.tasks, answers.choices)
