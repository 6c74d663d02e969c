"""The search over subsets, against trying each one."""

from __future__ import annotations

import time

import numpy as np
import pytest

from reteach.errors import UserError
from reteach.relabel.raters import model_subsets as subsets


def case(seed: int, pairs: int, models: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    support = rng.choice([0, 1, 2], p=[0.6, 0.25, 0.15], size=(pairs, models)).astype(np.int8)
    return support, rng.random(pairs) < 0.1, rng.random(pairs) < 0.3


@pytest.mark.parametrize(("pairs", "models"), [(1, 1), (30, 1), (50, 3), (200, 6), (300, 8)])
def test_every_subset(pairs: int, models: int) -> None:
    support, always, truth = case(pairs, pairs, models)
    truth[0] = True
    found = subsets.search(support, always, truth)
    for subset in range(2**models):
        proposed = always | (support[:, subsets.members(subset)].sum(1) >= 2)
        hits = (proposed & truth).sum()
        assert found.proposed[subset] == proposed.sum()
        assert found.recall[subset] == pytest.approx(hits / truth.sum())
        assert found.precision[subset] == pytest.approx(hits / max(proposed.sum(), 1))


def test_best_and_frontier() -> None:
    found = subsets.search(*case(5, 200, 6))
    everything = range(1, 64)
    for recall in (0.2, 0.4, 0.5):
        best = found.best(recall)
        fits = [s for s in everything if found.recall[s] >= recall]
        top = max(found.precision[s] for s in fits)
        assert found.precision[best] == top
        assert best.bit_count() == min(s.bit_count() for s in fits if found.precision[s] == top)
    beaten = {
        s
        for s in everything
        if any(
            found.recall[o] >= found.recall[s]
            and found.precision[o] >= found.precision[s]
            and (found.recall[o], found.precision[o]) != (found.recall[s], found.precision[s])
            for o in everything
        )
    }
    frontier = found.frontier().tolist()
    points = {(found.recall[s], found.precision[s]) for s in everything if s not in beaten}
    assert {(found.recall[s], found.precision[s]) for s in frontier} == points
    assert len(points) == len(frontier)
    assert (np.diff(found.recall[frontier]) < 0).all()


def test_no_subset_is_good_enough() -> None:
    support, always, truth = case(0, 50, 3)
    support[:5], always[:5], truth[:5] = 0, False, True
    with pytest.raises(UserError, match="no subset of the models reaches a recall"):
        subsets.search(support, always, truth).best(0.99)
    with pytest.raises(UserError, match="no true label"):
        subsets.search(support, always, np.zeros(50, np.bool_))
    with pytest.raises(UserError, match="at most 24 models"):
        subsets.search(np.zeros((1, 25), np.int8), always[:1], np.ones(1, np.bool_))


def test_nineteen_models_in_seconds() -> None:
    support, always, truth = case(1, 1135, 19)
    start = time.process_time()
    found = subsets.search(support, always, truth)
    found.best(found.recall[-1] * 0.97)
    found.frontier()
    assert time.process_time() - start < 10
    assert len(found.recall) == 524_288
