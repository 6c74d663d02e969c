"""The single-positive family against its equations in float64 loops, and against its limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import toys
from reteach.data.loading.batch import Batch
from reteach.engine.algorithm import Algorithm
from reteach.engine.learner import Learner
from reteach.engine.run import Run
from reteach.losses.partial import entropy, expected_positives, named_only
from reteach.losses.standard import sigmoid_bce
from reteach.methods.assume_negative import Smoothed, weak
from reteach.methods.entropy_max import Rounds, em_apl
from reteach.methods.expected_positive import ExpectedPositive
from reteach.methods.large_loss import From, LargeLoss, Rising, largest
from reteach.methods.role import Estimates
from reteach.methods.supervised import Supervised

GENERATOR = torch.Generator().manual_seed(3)
LOGITS = torch.randn(6, 4, generator=GENERATOR) * 3
NAMED = torch.eye(4)[[0, 2, 1, 3, 3, 0]]
PAIRS = [list(zip(z, y, strict=True)) for z, y in zip(LOGITS.tolist(), NAMED.tolist(), strict=True)]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def bce(z: float, y: float) -> float:
    return -y * math.log(sigmoid(z)) - (1 - y) * math.log(1 - sigmoid(z))


def h(z: float) -> float:
    return bce(z, sigmoid(z))


def trained(algorithm: Algorithm, steps: int = 8) -> dict[str, torch.Tensor]:
    Run.memory().train("train", algorithm, toys.stream(), steps=steps)
    return toys.weights(algorithm)


def logits_before(learner: Learner, x: torch.Tensor) -> list[list[float]]:
    """The training logits of a batch, without a trace of having looked."""
    state = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    with torch.no_grad():
        logits = learner(x).double().tolist()
    learner.model.load_state_dict(state)
    return logits


def test_smoothed_moves_every_label_towards_its_opposite():
    expected = [sum(bce(z, 0.9 if y else 0.1) for z, y in row) / 4 for row in PAIRS]
    assert Smoothed(0.1)(LOGITS, NAMED).tolist() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(Smoothed(0.0)(LOGITS, NAMED), sigmoid_bce(LOGITS, NAMED))


def test_weak_weighs_all_unnamed_classes_like_the_named_one():
    expected = [sum(bce(z, y) / (1 if y else 3) for z, y in row) / 4 for row in PAIRS]
    assert weak(LOGITS, NAMED).tolist() == pytest.approx(expected, rel=1e-5)
    two = NAMED[:, :2]
    assert torch.allclose(weak(LOGITS[:, :2], two), sigmoid_bce(LOGITS[:, :2], two))


def test_terms_of_partial_labels():
    expected = [sum(bce(z, 1) for z, y in row if y) / 4 for row in PAIRS]
    assert named_only(LOGITS, NAMED).tolist() == pytest.approx(expected, rel=1e-5)
    entropies = [h(z) for row in PAIRS for z, _ in row]
    assert entropy(LOGITS).flatten().tolist() == pytest.approx(entropies, rel=1e-4, abs=1e-6)
    assert torch.isfinite(entropy(torch.tensor([1e4, -1e4, 0.0]))).all()
    counted = torch.tensor([1.0, 1, 0, 1, 1, 1])
    sums = [sum(sigmoid(z) for z, _ in row) for row, c in zip(PAIRS, counted, strict=True) if c]
    value = ((sum(sums) / 5 - 1.7) / 4) ** 2
    assert expected_positives(LOGITS, 1.7, counted).item() == pytest.approx(value, rel=1e-4)


def test_em_apl_is_its_equation():
    soft = torch.full((6, 4), -1.0)
    soft[0, 1], soft[3, 0], soft[5, 3] = 0.05, 0.2, 0.0
    expected = []
    for row, marks in zip(PAIRS, soft.tolist(), strict=True):
        total = 0.0
        for (z, y), mark in zip(row, marks, strict=True):
            total += bce(z, 1) if y else 0.4 * bce(z, mark) if mark >= 0 else -0.1 * h(z)
        expected.append(total / 4)
    found = em_apl(LOGITS, NAMED, soft, alpha=0.1, beta=0.4)
    assert found.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_expected_positive_is_its_equation():
    algorithm = ExpectedPositive(toys.learner(), 1.5)
    for batch in toys.stream().batches(0, 4):
        logits = logits_before(algorithm.learner, batch.x)
        named = sum(bce(z[c], 1) / 3 for z, c in zip(logits, toys.given(batch), strict=True)) / 8
        count = ((sum(sigmoid(z) for row in logits for z in row) / 8 - 1.5) / 3) ** 2
        measured = algorithm.step(batch)
        assert measured["loss"].item() == pytest.approx(named, rel=1e-4)
        assert measured["count_loss"].item() == pytest.approx(count, rel=1e-4, abs=1e-7)


def test_role_is_its_equations():
    algorithm = toys.role()
    estimates = algorithm.estimates.model.logits
    for batch in toys.stream().batches(0, 5):
        network = logits_before(algorithm.learner, batch.x)
        own = estimates.detach()[batch.rows].double().tolist()
        expected = [role_loss(a, b, batch) for a, b in ((network, own), (own, network))]
        found = algorithm.step(batch)
        assert found["loss"].item() == pytest.approx(expected[0], rel=1e-4)
        assert found["estimate_loss"].item() == pytest.approx(expected[1], rel=1e-4)


def role_loss(mine: Any, other: Any, batch: Batch, k: float = 1.5) -> float:
    total, count = 0.0, 0.0
    for a, b, c in zip(mine, other, toys.given(batch), strict=True):
        total += sum(bce(x, sigmoid(y)) for x, y in zip(a, b, strict=True)) / 3 + bce(a[c], 1) / 3
        count += sum(map(sigmoid, a))
    n = len(mine)
    return 0.5 * (total / n + ((count / n - k) / 3) ** 2)


def test_role_begins_undecided_but_for_the_named_classes():
    named = torch.eye(3, dtype=torch.bool)[[0, 1, 2, 0]]
    first = Estimates(named, seed=1).logits.detach().sigmoid()
    assert torch.allclose(first[named], torch.tensor(0.995))
    assert ((first[~named] > 0.4) & (first[~named] < 0.6)).all()
    assert torch.equal(first, Estimates(named, seed=1).logits.detach().sigmoid())


def test_rounds_are_equally_spaced_after_the_warm_up():
    rounds = Rounds(first=10, total=30, count=4)
    assert [t for t in range(30) if rounds.due(t)] == [10, 15, 20, 25]
    assert not any(Rounds(10, 30, 0).due(t) for t in range(30))


def test_pseudo_negatives_are_the_lowest_unknown_scores_of_each_class():
    algorithm = toys.em_apl()
    data = algorithm.images.dataset
    scores = torch.zeros(40, 3)
    for rows, x in algorithm.images:
        scores[rows] = algorithm.learner.infer(x).sigmoid()
    algorithm._label()
    named = torch.from_numpy(data.labels.present())
    for c in range(3):
        unnamed = [i for i in range(40) if not named[i, c]]
        lowest = sorted(unnamed, key=lambda i: float(scores[i, c]))[: int(0.3 * len(unnamed))]
        chosen = (algorithm.memory[:, c] >= 0).nonzero().flatten().tolist()
        assert sorted(lowest) == chosen
        assert torch.allclose(algorithm.memory[chosen, c], scores[chosen, c])
    before = (algorithm.memory >= 0).sum()
    algorithm._label()
    assert (algorithm.memory >= 0).sum() > before


def test_largest_takes_exactly_so_many():
    losses = torch.tensor([[3.0, 1.0, 2.0], [9.0, 2.0, 0.5]])
    among = torch.tensor([[True, True, True], [False, True, True]])
    assert largest(losses, among, 0.3).tolist() == [[True, False, True], [False, False, False]]
    assert not largest(losses, among, 0.0).any()
    assert largest(losses, among, 1.0).equal(among)


@pytest.mark.parametrize("surprise", ["reject", "correct", "permanent"])
def test_large_loss_without_a_share_is_sigmoid(surprise):
    present = torch.zeros(40, 3, dtype=torch.bool)
    doubting = LargeLoss(toys.learner(), Rising(0.0, 8), surprise, present)
    plain = trained(Supervised(toys.learner(), sigmoid_bce, "sigmoid"))
    mine = trained(doubting)
    assert all(torch.equal(mine[path], plain[path]) for path in plain)


@pytest.mark.parametrize("surprise", ["reject", "correct", "permanent"])
def test_large_loss_is_its_definition(surprise):
    present = torch.zeros(40, 3, dtype=torch.bool)
    algorithm = LargeLoss(toys.learner(), From(0.1, 0), surprise, present)
    corrected: set[tuple[int, int]] = set()
    for batch in toys.stream().batches(0, 6):
        logits = logits_before(algorithm.learner, batch.x)
        entries = []
        for row, zs, label in zip(batch.rows.tolist(), logits, toys.given(batch), strict=True):
            for c, z in enumerate(zs):
                y = float(c == label or (row, c) in corrected)
                entries.append([row, c, z, y])
        doubted = sorted((e for e in entries if e[3] == 0), key=lambda e: -bce(e[2], 0))[:3]
        total = 0.0
        for entry in entries:
            row, c, z, y = entry
            if entry in doubted:
                total += 0.0 if surprise == "reject" else bce(z, 1)
            else:
                total += bce(z, y)
        corrected |= {(e[0], e[1]) for e in doubted} if surprise == "permanent" else set()
        assert algorithm.step(batch)["loss"].item() == pytest.approx(total / 24, rel=1e-4)
    assert {tuple(at) for at in algorithm.present.nonzero().tolist()} == corrected


def test_shares_rise_or_begin():
    assert [Rising(0.2, 10)(t) for t in (0, 5, 10)] == [0, 0.1, 0.2]
    assert [From(0.2, 3)(t) for t in (0, 2, 3, 9)] == [0, 0, 0.2, 0.2]


def test_entropy_without_pseudo_labels_keeps_the_unknown_undecided():
    """With α > 0 nothing pushes an unknown class down; with β and rounds something does."""
    alone = toys.em_apl(count=0)
    trained(alone, 40)
    whole = toys.em_apl()
    trained(whole, 40)
    assert (alone.memory < 0).all()
    assert (whole.memory >= 0).any()
