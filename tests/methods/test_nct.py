"""NCT against literal float64 transcriptions of its equations, and its limit cases."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import toys
from reteach.data.loading.batch import Batch
from reteach.engine.learner import Learner
from reteach.engine.run import Run
from reteach.errors import UserError
from reteach.labels import Single
from reteach.losses.standard import softmax_xent
from reteach.methods import nct
from reteach.methods.nct import Nct
from reteach.methods.nct_flips import changed, flips
from reteach.methods.nct_schedules import Balancing, TargetVariability
from reteach.methods.supervised import Supervised
from reteach.options import methods as catalog
from reteach.options import shared as options
from reteach.schedules import ByEpoch, Constant

NEVER = Constant(0.0)


def softmax(z, tau=1.0):
    powers = [math.exp(v / tau) for v in z]
    return [p / sum(powers) for p in powers]


def literal_loss(own, peer, targets, alpha, tau):
    """Eq. 1 in float64 loops: the mean over the batch."""
    total = 0.0
    for z, other, y in zip(own, peer, targets, strict=True):
        ce = -sum(t * math.log(p) for t, p in zip(y, softmax(z), strict=True))
        q, p = softmax(other, tau), softmax(z, tau)
        kl = sum(a * math.log(a / b) for a, b in zip(q, p, strict=True))
        total += (1 - alpha) * ce + alpha * tau**2 * kl
    return total / len(own)


@pytest.mark.parametrize(("e_max", "e_w", "beta"), [(30, 1, 0.65), (200, 1, 5.0), (12, 4, 0.65)])
def test_alpha_and_rate_are_equations_4_and_5(e_max, e_w, beta):
    e_r = 0.9 * e_max
    alpha, rate = Balancing(0.9, beta, e_r), TargetVariability(0.1, 0.7, e_w, e_max)
    for e in range(e_max + 1):
        inside = 0.0 if e >= e_r else (1 - e / e_r) ** 2
        assert alpha(e) == pytest.approx(0.9 * math.exp(-beta * inside), abs=1e-12)
        ramp = 0.0 if e <= e_w else math.log(e - e_w) / math.log(e_max - e_w)
        assert rate(e) == pytest.approx(0.1 + 0.6 * ramp, abs=1e-12)
    assert rate(e_max) == pytest.approx(0.7)
    assert alpha(e_max) == 0.9


def test_the_paper_starts_at_0_47():
    assert Balancing(0.9, 0.65, 180)(0) == pytest.approx(0.47, abs=0.005)


@pytest.mark.parametrize("e_max", [0.5, 1.0, 2.0])
def test_a_ramp_without_room_stays_down(e_max):
    rate = TargetVariability(0.1, 0.7, 1.0, e_max)
    assert [rate(e) for e in (0, 1, 2, 3)] == [0.1] * 4


def test_rates_move_with_finished_passes():
    schedule = ByEpoch(lambda e: e, images=40, batch_size=16)
    assert [schedule(step) for step in range(8)] == [0, 0, 0, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("rate", [0.0, 0.6])
def test_losses_are_equations_1_and_2(alpha, rate):
    algorithm = Nct(_double(1), _double(2), Constant(alpha), Constant(rate), temperature=4.0)
    batch = _batch()
    with torch.no_grad():
        before = [m.train()(batch.x) for m in (algorithm.first.model, algorithm.second.model)]
    torch.manual_seed(5)
    targets = [
        changed(batch.y, rate, "other", flips(name)).tolist() for name in ("first", "second")
    ]
    assert (targets[0] != targets[1]) == (rate > 0)
    torch.manual_seed(5)
    found = algorithm.step(batch)
    z1, z2 = (z.tolist() for z in before)
    assert found["first_loss"] == pytest.approx(
        literal_loss(z1, z2, targets[0], alpha, 4.0), abs=1e-6
    )
    assert found["second_loss"] == pytest.approx(
        literal_loss(z2, z1, targets[1], alpha, 4.0), abs=1e-6
    )
    assert found["alpha"] == pytest.approx(alpha)
    assert found["target_variability"] == pytest.approx(rate)


def test_the_peer_is_a_target_without_gradient():
    """The gradient of a network is that of its own loss alone, with the peer's logits as constants."""
    algorithm = Nct(_double(1), _double(2), Constant(0.7), NEVER, temperature=2.0)
    batch = _batch()
    model, peer = toys.network(1).double(), toys.network(2).double()
    with torch.no_grad():
        fixed = peer(batch.x)
    z = model(batch.x)
    q, logp = (fixed / 2).softmax(-1), (z / 2).log_softmax(-1)
    kl = (q * (q.log() - logp)).sum(-1)
    ce = torch.nn.functional.cross_entropy(z, batch.y.argmax(-1), reduction="none")
    (0.3 * ce + 0.7 * 4 * kl).mean().backward()
    algorithm.step(batch)
    for mine, theirs in zip(algorithm.first.model.parameters(), model.parameters(), strict=True):
        step = theirs.data - 0.1 * theirs.grad  # plain SGD, first step, rate 0.1
        assert torch.allclose(mine, step, atol=1e-6)


@pytest.mark.parametrize("alone", ["first", "second"])
def test_without_peer_and_flips_they_are_two_independent_runs(alone):
    seed, dropout = (1, 0.3) if alone == "first" else (2, 0.0)
    both = Nct(toys.learner(1, dropout=0.3), toys.learner(2), NEVER, NEVER)
    Run.memory(3).train("train", both, toys.stream(), steps=12)
    one = Supervised(toys.learner(seed, dropout=dropout), softmax_xent, "softmax")
    Run.memory(3).train("train", one, toys.stream(), steps=12)
    mine = getattr(both, alone).model.state_dict()
    assert all(
        torch.equal(mine[name], leaf) for name, leaf in one.learner.model.state_dict().items()
    )


@pytest.mark.parametrize(("flip", "expected"), [("other", 0.4), ("any", 0.4 * 2 / 3)])
def test_changed_labels_are_uniform_over_the_classes(flip, expected):
    y = torch.eye(3)[torch.arange(30000) % 3]
    out = changed(y, 0.4, flip, torch.Generator().manual_seed(0))
    assert torch.equal(out.sum(-1), torch.ones(30000))
    moved = out.argmax(-1) != y.argmax(-1)
    assert moved.float().mean().item() == pytest.approx(expected, abs=0.01)
    for true in range(3):
        landed = out[(y.argmax(-1) == true) & moved].argmax(-1)
        counts = torch.bincount(landed, minlength=3).float() / len(landed)
        assert counts[true] == 0
        assert counts[counts > 0].tolist() == pytest.approx([0.5, 0.5], abs=0.03)


def test_a_missing_label_stays_missing_and_one_class_stays_itself():
    generator = torch.Generator().manual_seed(0)
    assert not changed(torch.zeros(5, 3), 1.0, "other", generator).any()
    assert torch.equal(changed(torch.ones(5, 1), 1.0, "other", generator), torch.ones(5, 1))


def test_draws_depend_on_step_and_network_alone():
    y = torch.eye(3)[torch.arange(60) % 3]

    def draw(step_seed, name):
        torch.manual_seed(step_seed)
        state = torch.get_rng_state()
        out = changed(y, 0.5, "other", flips(name))
        assert torch.equal(torch.get_rng_state(), state)  # nobody else's draws are moved
        return out

    assert torch.equal(draw(1, "first"), draw(1, "first"))
    assert not torch.equal(draw(1, "first"), draw(1, "second"))
    assert not torch.equal(draw(1, "first"), draw(2, "first"))


def test_the_ensemble_is_equation_3():
    algorithm = Nct(toys.learner(1), toys.learner(2), NEVER, NEVER)
    x = _batch().x.float()
    found = algorithm.predictors()
    mean = (found["first"].logits(x) + found["second"].logits(x)) / 2
    assert list(found) == ["ensemble", "first", "second"]
    assert torch.allclose(found["ensemble"].scores(x), mean.softmax(-1))
    assert next(iter(replace(algorithm, evaluated_model="second").predictors())) == "second"


def test_a_peer_of_other_classes_is_refused():
    other = toys.learner(2)
    other.model[-1] = torch.nn.Linear(6, 5)
    algorithm = Nct(toys.learner(1), other, NEVER, NEVER)
    with pytest.raises(UserError, match="for 3 and 5 classes"):
        Run.memory().train("train", algorithm, toys.stream(), steps=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"target_variability": 1.5},
            r"--target-variability must lie in \[0, 1\], got 1.5",
        ),
        (
            {"least_variability": -0.1},
            r"--least-variability must lie in \[0, 1\], got -0.1",
        ),
        (
            {"target_variability": 0.2, "least_variability": 0.4},
            "--target-variability 0.2 is below --least-variability 0.4",
        ),
        ({"alpha": 2}, r"--alpha must lie in \[0, 1\], got 2"),
        ({"temperature": 0}, "--temperature must be positive, got 0"),
        ({"ramp": 0}, "--ramp must be positive, got 0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        nct.train(_Setup(), catalog.NctOptions(**settings), Run.memory())


def test_the_methods_build_what_they_say():
    made = {
        "nct": nct.train(_Setup(), catalog.NctOptions(), Run.memory()),
        "constant": nct.train(_Setup(), catalog.NctOptions(balancing="constant"), Run.memory()),
        "dml": nct.train_dml(_Setup(), catalog.DmlOptions(), Run.memory()),
        "variability": nct.train_variability(_Setup(), catalog.VariabilityOptions(), Run.memory()),
        "ensemble": nct.train_ensemble(_Setup(), catalog.EnsembleOptions(), Run.memory()),
    }
    rates = {name: (m.alpha(0), m.alpha(9), m.rate(0), m.rate(9)) for name, m in made.items()}
    last = 0.3 * math.log(3) / math.log(4)  # e = 4 of e_max = 5
    assert rates["nct"] == pytest.approx(
        (0.9 * math.exp(-0.65), 0.9 * math.exp(-0.65 / 81), 0, last)
    )
    assert rates["constant"] == pytest.approx((0.9, 0.9, 0, last))
    assert rates["dml"] == (0.5, 0.5, 0, 0)
    assert rates["variability"] == pytest.approx((0, 0, 0, last))
    assert rates["ensemble"] == (0, 0, 0, 0)


class _Setup:
    """A setup of 20 backward passes over 16 images in batches of 8: five epochs for each network."""

    def __init__(self):
        self.train, self.total, self.per_epoch = toys.dataset(16), 20, 16
        self.training = options.Training(batch_size=8)

    def learner(self, name="model", *, steps, network=None):
        assert steps == 0.5
        return toys.learner(1 if name == "model" else 2)

    def stream(self):
        return toys.stream(self.train)

    def budget(self, share):
        return {"steps": round(self.total * share)}


def _double(seed: int) -> Learner:
    model = toys.network(seed).double()
    return Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), Constant(0.1))


def _batch() -> Batch:
    generator = np.random.default_rng(0)
    x = torch.from_numpy(generator.normal(size=(8, 1, 8, 8)))
    labels = Single(generator.integers(0, 3, 8), toys.CLASSES)
    return Batch(0, x, labels.dense(), None, torch.arange(8), torch.ones(8, dtype=torch.float64))
