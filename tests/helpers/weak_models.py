"""Made-up held-out scores of models of every strength, with labels of which some are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

World = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Scores (N, C), given and true labels (N,)."""


def one_hot(labels: np.ndarray, width: int) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[labels]


def world(seed: int, n: int = 400, width: int = 5, noise: float = 0.3, sharp: float = 3.0):
    """(scores, given, true): scores lean to the true class, labels are flipped at a rate."""
    generator = np.random.default_rng(seed)
    true = generator.integers(0, width, n)
    logits = generator.normal(size=(n, width)) + sharp * one_hot(true, width)
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    flipped = (true + generator.integers(1, width, n)) % width
    given = np.where(generator.random(n) < noise, flipped, true)
    return scores.astype(np.float32), given, true


@dataclass(frozen=True)
class Draw:
    """One model and its labels."""

    family: str
    scores: np.ndarray
    given: np.ndarray
    true: np.ndarray

    @property
    def noise(self) -> float:
        """The share of wrong labels."""
        return float(np.mean(self.given != self.true))


def softmax(logits: np.ndarray) -> np.ndarray:
    made = np.exp(logits - logits.max(1, keepdims=True))
    return (made / made.sum(1, keepdims=True)).astype(np.float32)


def mislabelled(
    generator: np.random.Generator, true: np.ndarray, width: int, noise: float, pairs: bool
) -> np.ndarray:
    """Labels of which a share is wrong: any other class, or the one that looks alike."""
    other = (true + generator.integers(1, width, len(true))) % width
    if pairs:
        other = np.where(twin(true, width) == true, other, twin(true, width))
    return np.where(generator.random(len(true)) < noise, other, true)


def twin(true: np.ndarray, width: int) -> np.ndarray:
    """Classes in pairs; a last one without a partner is its own."""
    return np.where(true ^ 1 < width, true ^ 1, true)


def lean(
    noise: np.ndarray, direction: np.ndarray, true: np.ndarray, right: float, most: float
) -> np.ndarray:
    """Logits that are right as often as wanted, by how far they lean in a direction."""
    low, high = 0.0, most
    for _ in range(14):
        middle = (low + high) / 2
        enough = np.mean((noise + middle * direction).argmax(1) == true) >= right
        low, high = (low, middle) if enough else (middle, high)
    return noise + high * direction


def graded(g: np.random.Generator, n: int, width: int, right: float, noise: float, *, pairs=False):
    """All images are equally hard."""
    true = g.integers(0, width, n)
    logits = lean(g.normal(size=(n, width)), one_hot(true, width), true, right, 12)
    return softmax(logits), mislabelled(g, true, width, noise, pairs), true


def spread(g: np.random.Generator, n: int, width: int, right: float, noise: float, *, pairs=False):
    """Some images are hard, some easy."""
    true = g.integers(0, width, n)
    clear = g.gamma(1.0, 1.0, n)[:, None]
    logits = lean(g.normal(size=(n, width)), clear * one_hot(true, width), true, right, 400)
    return softmax(logits), mislabelled(g, true, width, noise, pairs), true


def twins(g: np.random.Generator, n: int, width: int, right: float, noise: float, *, pairs=False):
    """Classes in pairs that look alike."""
    true = g.integers(0, width, n)
    both = one_hot(true, width) + 0.6 * one_hot(twin(true, width), width)
    logits = lean(g.normal(size=(n, width)), np.minimum(both, 1), true, right, 40)
    return softmax(logits), mislabelled(g, true, width, noise, pairs), true


def patchy(g: np.random.Generator, n: int, width: int, right: float, noise: float, *, pairs=False):
    """The first classes are hard, the others easy."""
    true = g.integers(0, width, n)
    ease = np.where(true < width // 2, 0.3, 1.0)[:, None]
    logits = lean(g.normal(size=(n, width)), ease * one_hot(true, width), true, right, 60)
    return softmax(logits), mislabelled(g, true, width, noise, pairs), true


def half_blind(
    g: np.random.Generator, n: int, width: int, right: float, noise: float, *, pairs=False
):
    """Half of the errors are made as surely as the right answers are given."""
    true = g.integers(0, width, n)
    missed = g.random(n) < (1 - right) / 2 * width / (width - 1)
    seen = np.where(missed, g.integers(0, width, n), true)
    logits = lean(g.normal(size=(n, width)), one_hot(seen, width), true, right, 12)
    return softmax(logits), mislabelled(g, true, width, noise, pairs), true


def trained(g: np.random.Generator, n: int, width: int, right: float, noise: float, *, pairs=False):
    """Softmax regression in two folds, stopped early; ``right`` says how far apart the classes lie."""
    true = g.integers(0, width, n)
    given = mislabelled(g, true, width, noise, pairs)
    centres = g.normal(size=(width, 20))
    centres *= (6.5 * right - 1.3) / np.linalg.norm(centres, axis=1, keepdims=True)
    x = np.concatenate([g.normal(size=(n, 20)) + centres[true], np.ones((n, 1))], 1)
    fold = g.permutation(n) % 2
    scores = np.empty((n, width), np.float32)
    for k in range(2):
        learn, weight = fold != k, np.zeros((21, width))
        for _ in range(int(g.integers(5, 150))):
            wrong = softmax(x[learn] @ weight) - one_hot(given[learn], width)
            weight -= 0.8 * x[learn].T @ wrong / learn.sum()
        scores[~learn] = softmax(x[~learn] @ weight)
    return scores, given, true


FAMILIES: dict[str, Callable[..., World]] = {
    made.__name__: made for made in (graded, spread, twins, patchy, half_blind, trained)
}


def draws(count: int, seed: int) -> Iterator[Draw]:
    """Models of all families in turn: right on 40% to 95%, 0% to 40% of the labels wrong."""
    g = np.random.default_rng(seed)
    for number in range(count):
        family = list(FAMILIES)[number % len(FAMILIES)]
        n, width = int(g.choice([300, 400, 1000])), int(g.choice([3, 5, 10]))
        right, noise = g.uniform(max(0.4, 1.3 / width), 0.95), g.uniform(0, 0.4)
        noise = 0.0 if g.random() < 0.1 else noise
        made = FAMILIES[family](g, n, width, right, noise, pairs=bool(g.random() < 0.5))
        yield Draw(family, *made)
