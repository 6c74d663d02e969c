"""Batches for the metrics' tests: random ones, and hypothesis strategies rich in edge cases."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

Batch = tuple[NDArray[Any], NDArray[np.bool_]]


class Metric(Protocol):
    def update(self, scores: Any, truth: Any) -> None: ...


M = TypeVar("M", bound=Metric)


def random_batch(
    n: int, classes: int, seed: int = 0, dtype: type = np.float32, present: float = 0.15
) -> Batch:
    """Scores that say something about the truth; some rows are empty."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, classes)) < present
    logits = rng.normal(-2, 1.5, (n, classes)) + 2 * truth
    return (1 / (1 + np.exp(-logits))).astype(dtype), truth


@st.composite
def batches(draw: st.DrawFn, max_rows: int = 12, max_classes: int = 7) -> Batch:
    """Ties, zeros, ones, neighbouring floats, empty and full rows, constant columns."""
    shape = draw(st.tuples(st.integers(1, max_rows), st.integers(1, max_classes)))
    dtype: Any = draw(st.sampled_from([np.float32, np.float64]))
    near = dtype(0.3)
    values = [0, -0.0, 1, 0.25, 0.5, near, np.nextafter(near, dtype(1)), 1e-45, 1e-20, 1 - 2**-24]
    width = 32 if dtype is np.float32 else 64
    few = st.sampled_from([float(dtype(v)) for v in values])
    element = st.one_of(few, st.floats(0, 1, width=width))
    scores = draw(hnp.arrays(dtype, shape, elements=element))
    truth = draw(hnp.arrays(np.bool_, shape))
    for row in draw(st.sets(st.integers(0, shape[0] - 1), max_size=3)):
        truth[row] = draw(st.booleans())
    if draw(st.booleans()):
        scores[:, draw(st.integers(0, shape[1] - 1))] = draw(few)
    return scores, truth


def fill(metric: M, batch: Batch, *cuts: int) -> M:
    """The metric after the batch in pieces that end at ``cuts``."""
    for scores, truth in zip(np.split(batch[0], cuts), np.split(batch[1], cuts), strict=True):
        metric.update(scores, truth)
    return metric
