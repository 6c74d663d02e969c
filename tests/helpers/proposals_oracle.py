"""Slow, literal version of ReaL's Appendix A and of the search over subsets of models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

Pair = tuple[int, int]  # item, class
Scores = Mapping[Pair, float]


def largest(scores: Scores, k: int) -> list[Pair]:
    """The k pairs of the largest values, the smaller pair first among equals."""
    return sorted(scores, key=lambda pair: (-scores[pair], pair))[:k]


def first_predictions(scores: Scores) -> set[Pair]:
    """Every item's best class, the smaller one among equals."""
    best: dict[int, Pair] = {}
    for pair in sorted(scores):
        if pair[0] not in best or scores[pair] > scores[best[pair[0]]]:
            best[pair[0]] = pair
    return set(best.values())


def proposals(
    models: Sequence[tuple[Scores, Scores | None]], original: Mapping[int, int], k: int
) -> set[Pair]:
    """All pairs that a set of models (probabilities, logits) proposes."""
    times: Counter[Pair] = Counter()
    always = set(original.items())
    for scores, logits in models:
        times.update(largest(scores, k))
        if logits is not None:
            times.update(largest(logits, k))
        always |= first_predictions(scores)
    return {pair for pair, n in times.items() if n > 1} | always
