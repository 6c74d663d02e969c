"""Two networks that learn from the same labels: which of them, or both, is *the* model."""

from __future__ import annotations

from typing import Literal

from ..engine.learner import Learner, Predictor

Judged = Literal["ensemble", "first", "second"]


def pair(first: Learner, second: Learner, judged: Judged) -> dict[str, Predictor]:
    """Both and the mean of their logits, the one that is *the* model first."""
    one, two = first.predictor("softmax"), second.predictor("softmax")
    both = Predictor((*one.models, *two.models), "softmax", one.precision)
    found = {"ensemble": both, "first": one, "second": two}
    return {judged: found[judged]} | found
