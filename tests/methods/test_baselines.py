"""Softmax, sigmoid and ELR against their definitions and limits."""

from __future__ import annotations

import math

import pytest
import torch

import toys
from reteach.engine.run import Run
from reteach.losses.standard import sigmoid_bce, softmax_xent
from reteach.methods.elr import Elr
from reteach.methods.supervised import Supervised


def test_supervised_softmax_learns_the_brightness():
    data = toys.dataset(200)
    algorithm = Supervised(toys.learner(adam=True), softmax_xent, "softmax")
    Run.memory().train("train", algorithm, toys.stream(data, batch_size=32), steps=150)
    right = 0
    for rows, x in toys.scan(data):
        right += int(
            (algorithm.learner.infer(x).argmax(-1).numpy() == data.labels.index[rows]).sum()
        )
    assert right / 200 > 0.7


def test_elr_without_its_regulariser_is_softmax():
    elr = Elr(toys.learner(), torch.zeros(40, 3), lam=0.0)
    plain = Supervised(toys.learner(), softmax_xent, "softmax")
    for algorithm in (elr, plain):
        Run.memory().train("train", algorithm, toys.stream(), steps=8)
    a, b = elr.learner.model.state_dict(), plain.learner.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_elr_is_its_equations():
    """Eqs. 6 and 8 of Liu et al. in float64 loops, over the first steps."""
    elr = Elr(toys.learner(), torch.zeros(40, 3), beta=0.7, lam=3.0)
    t = [[0.0] * 3 for _ in range(40)]
    for batch in toys.stream().batches(0, 6):
        with torch.no_grad():
            elr.learner.model.train()
            state = {k: v.clone() for k, v in elr.learner.model.state_dict().items()}
            logits = elr.learner.model(batch.x).double().tolist()
            elr.learner.model.load_state_dict(state)  # the running statistics moved
        total = 0.0
        for row, z, label in zip(batch.rows.tolist(), logits, toys.given(batch), strict=True):
            weights = [math.exp(v - max(z)) for v in z]
            p = [min(max(w / sum(weights), 1e-4), 1 - 1e-4) for w in weights]
            t[row] = [0.7 * a + 0.3 * b / sum(p) for a, b in zip(t[row], p, strict=True)]
            inner = sum(a * b for a, b in zip(p, t[row], strict=True))
            raw = [w / sum(weights) for w in weights]
            total += -math.log(raw[label]) + 3.0 * math.log(1 - inner)
        found = elr.step(batch)
        assert found["loss"].item() == pytest.approx(total / 8, rel=1e-4)
    assert torch.allclose(elr.memory, torch.tensor(t), atol=1e-5)


def test_averaged_weights_predict():
    algorithm = Supervised(toys.learner(average=0.5), sigmoid_bce, "sigmoid")
    expected = None
    for batch in toys.stream().batches(0, 5):
        algorithm.step(batch)
        now = algorithm.learner.model[6].weight.detach().clone()
        start = toys.network(0)[6].weight.detach() if expected is None else expected
        expected = 0.5 * start + 0.5 * now
    averaged = algorithm.predictors()["model"].models[0]
    assert torch.allclose(averaged[6].weight, expected, atol=1e-6)


def test_rate_scale_of_a_group():
    learner = toys.learner()
    learner.optimizer.param_groups[0]["lr_scale"] = 0.5
    (batch,) = toys.stream().batches(3, 4)
    learner.update(learner(batch.x).sum(), batch)
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * learner.rate(3))


@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_trains(precision):
    algorithm = Supervised(toys.learner(precision=precision), softmax_xent, "softmax")
    before = toys.weights(algorithm)
    Run.memory().train("train", algorithm, toys.stream(), steps=4)
    after = toys.weights(algorithm)
    name = "algorithm.learner.model.0.weight"
    assert not torch.equal(before[name], after[name])
    assert all(torch.isfinite(leaf).all() for leaf in after.values())
    assert after[name].dtype == torch.float32
