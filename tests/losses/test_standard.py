"""Each loss against its equation in float64 loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reteach.losses.asymmetric import Asymmetric
from reteach.losses.standard import sigmoid_bce, sigmoid_bce_sum, smooth, soft_xent, softmax_xent

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(5, 4, generator=GENERATOR) * 4
TARGETS = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0.3, 0, 0.7, 0], [1, 1, 1, 1]])


def softmax(row: list[float]) -> list[float]:
    largest = max(row)
    weights = [math.exp(z - largest) for z in row]
    return [w / sum(weights) for w in weights]


def test_softmax_xent():
    expected = [
        -sum(y * math.log(p) for y, p in zip(ys, softmax(zs), strict=True))
        for zs, ys in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True)
    ]
    assert softmax_xent(LOGITS, TARGETS).tolist() == pytest.approx(expected, rel=1e-5)
    assert expected[2] == 0  # no label, no loss


def test_sigmoid_bce_is_equation_1():
    expected = []
    for zs, ys in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True):
        total = 0.0
        for z, y in zip(zs, ys, strict=True):
            p = 1 / (1 + math.exp(-z))
            total -= y * math.log(p) + (1 - y) * math.log(1 - p)
        expected.append(total / 4)
    assert sigmoid_bce(LOGITS, TARGETS).tolist() == pytest.approx(expected, rel=1e-5)
    summed = [4 * value for value in expected]
    assert sigmoid_bce_sum(LOGITS, TARGETS).tolist() == pytest.approx(summed, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_xent(temperature):
    teacher = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    expected = []
    for zs, ts in zip(LOGITS.tolist(), teacher.tolist(), strict=True):
        p = softmax([t / temperature for t in ts])
        q = softmax([z / temperature for z in zs])
        kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        expected.append(temperature**2 * kl)
    assert soft_xent(LOGITS, teacher, temperature).tolist() == pytest.approx(expected, rel=1e-5)
    assert soft_xent(LOGITS, LOGITS, temperature).abs().max() < 1e-6


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0, 5.0]]).requires_grad_()
    for loss in (softmax_xent, sigmoid_bce, sigmoid_bce_sum):
        value = loss(logits, torch.tensor([[0.0, 1.0, 0.0, 0.0]])).sum()
        (gradient,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


def test_smoothing():
    assert smooth(TARGETS, 0.0) is TARGETS
    smoothed = smooth(TARGETS, 0.1)
    assert smoothed[0].tolist() == pytest.approx([0.925, 0.025, 0.025, 0.025])
    assert smoothed[2].tolist() == [0, 0, 0, 0]
    assert np.allclose(smoothed.sum(-1), TARGETS.sum(-1))


@pytest.mark.parametrize("loss", [sigmoid_bce, sigmoid_bce_sum, Asymmetric()])
def test_unknown_entries_add_nothing(loss):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, generator=draw, requires_grad=True)
    targets = (torch.rand(4, 6, generator=draw) < 0.4).float()
    known = torch.rand(4, 6, generator=draw) < 0.6
    found = loss(logits, targets, known)
    flipped = torch.where(known, targets, 1 - targets)
    assert torch.equal(found, loss(logits, flipped, known))
    each = torch.stack([loss(logits[:, [c]], targets[:, [c]]) for c in range(6)], 1)
    expected = (each * known).sum(1) / (6 if loss is sigmoid_bce else 1)
    assert torch.allclose(found, expected)
    found.sum().backward()
    assert (logits.grad[~known] == 0).all()
    assert torch.equal(loss(logits, targets), loss(logits, targets, torch.ones(4, 6)))
