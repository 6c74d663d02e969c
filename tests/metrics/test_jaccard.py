"""IIRC's metric against literal loops, and against the formula of its authors' code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given

from metric_batches import Batch, batches, fill, random_batch
from reteach.metrics.jaccard import PrecisionWeightedJaccard
from reteach.metrics.summary import Summary, trivial_every_class


def literal(predicted: list[set[int]], true: list[set[int]]) -> float:
    total = 0.0
    for p, y in zip(predicted, true, strict=True):
        both, either = len(p & y), len(p | y)
        total += (both / either) * (both / len(p) if p else 0.0) if either else 1.0
    return total / len(true)


def sets(values: np.ndarray) -> list[set[int]]:
    return [set(np.flatnonzero(row).tolist()) for row in values]


@given(batches())
def test_precision_weighted_jaccard_is_the_literal_one(batch: Batch) -> None:
    scores, truth = batch
    found = fill(PrecisionWeightedJaccard(), batch, 3).compute()
    assert found == pytest.approx(literal(sets(scores > np.float32(0.5)), sets(truth)), abs=1e-12)
    first = fill(PrecisionWeightedJaccard(first_choice=True), batch).compute()
    tops = [{int(row.argmax())} if len(row) else set() for row in np.asarray(scores)]
    assert first == pytest.approx(literal(tops, sets(truth)), abs=1e-12)


def test_it_agrees_with_the_authors_formula_on_images_that_have_a_label() -> None:
    """Their code divides by |Ŷ| + 10⁻⁸, and by zero where an image has neither labels nor predictions."""
    scores, truth = random_batch(300, 8)
    scores, truth = scores[truth.any(1)], truth[truth.any(1)]
    p, y = torch.from_numpy(scores > 0.5), torch.from_numpy(truth)
    jaccard = (y & p).sum(-1) / (y | p).sum(-1)
    theirs = (jaccard * (y & p).sum(-1) / (p.sum(-1) + 1e-8)).mean().item()
    assert fill(PrecisionWeightedJaccard(), (scores, truth)).compute() == pytest.approx(theirs)


def test_unknown_entries_are_neither_labels_nor_predictions() -> None:
    metric = PrecisionWeightedJaccard()
    known = np.array([[True, True, False]])
    metric.update([[0.9, 0.1, 0.9]], np.array([[True, False, True]]), known)
    assert metric.compute() == 1.0


def test_a_summary_has_it_also_of_naming_every_class() -> None:
    scores, truth = random_batch(50, 4)
    summary = Summary("abcd")
    summary.update(scores, truth)
    assert (
        summary.compute()["jaccard"] == fill(PrecisionWeightedJaccard(), (scores, truth)).compute()
    )
    every = trivial_every_class(truth)["jaccard"]
    assert every == pytest.approx(literal([{0, 1, 2, 3}] * 50, sets(truth)))
