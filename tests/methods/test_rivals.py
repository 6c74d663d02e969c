"""Co-teaching, M-correction and DivideMix against their definitions in loops, and at their limits."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import toys
from reteach.data.loading.mixing import Mix
from reteach.engine.run import Run
from reteach.losses.standard import softmax_xent
from reteach.methods.co_teaching import CoTeaching, Forgetting, easiest
from reteach.methods.loss_mixtures import fit_beta, right_by_gauss, wrong_by_beta
from reteach.methods.nct import Nct
from reteach.methods.supervised import Supervised
from reteach.schedules import Constant, EveryEpoch


def logits(learner, x, train: bool):
    """Of the present weights, as lists of float64, the running statistics as they were."""
    state = {k: v.clone() for k, v in learner.model.state_dict().items()}
    learner.model.train(train)
    with torch.no_grad():
        found = learner.model(x).double().tolist()
    learner.model.load_state_dict(state)
    return found


def softmax(z):
    weights = [math.exp(v - max(z)) for v in z]
    return [w / sum(weights) for w in weights]


def xent(z, y):
    return -sum(a * math.log(p) for a, p in zip(y, softmax(z), strict=True) if a)


def test_co_teaching_is_algorithm_1():
    """Each network learns from the images that the other finds easiest, in loops."""
    algorithm = toys.co_teaching()
    for batch in toys.stream().batches(0, 10):
        z = [logits(net, batch.x, True) for net in (algorithm.first, algorithm.second)]
        y = batch.y.tolist()
        losses = [[xent(a, b) for a, b in zip(one, y, strict=True)] for one in z]
        keep = int(8 * (1 - 0.3 * min(batch.step * 8 // 40, 1)))
        chosen = [sorted(range(8), key=lambda i, of=of: of[i])[:keep] for of in losses]
        told = algorithm.step(batch)
        first = sum(losses[0][i] for i in chosen[1]) / keep
        second = sum(losses[1][i] for i in chosen[0]) / keep
        assert told["first_loss"].item() == pytest.approx(first, rel=1e-4)
        assert told["second_loss"].item() == pytest.approx(second, rel=1e-4)


def test_co_teaching_plus_chooses_among_disagreements():
    algorithm = toys.co_teaching(apart_from=0)
    apart = 0
    for batch in toys.stream().batches(0, 10):
        z = [logits(net, batch.x, True) for net in (algorithm.first, algorithm.second)]
        y = batch.y.tolist()
        told = algorithm.step(batch)
        differ = [i for i in range(8) if np.argmax(z[0][i]) != np.argmax(z[1][i])]
        apart += bool(differ)
        share = 1 - 0.3 * min(batch.step * 8 // 40, 1)
        keep = max(min(1, len(differ)), int(share * len(differ)))
        easy = sorted(differ, key=lambda i: xent(z[1][i], y[i]))[:keep]
        expected = sum(xent(z[0][i], y[i]) for i in easy) / max(1, keep)
        assert told["first_loss"].item() == pytest.approx(expected, rel=1e-4)
    assert apart, "they never disagreed: nothing was tested"


def test_co_teaching_that_forgets_nothing_is_an_ensemble():
    never = Constant(0.0)
    one = CoTeaching(toys.learner(1), toys.learner(2), never)
    two = Nct(toys.learner(1), toys.learner(2), never, never)
    for algorithm in (one, two):
        Run.memory().train("train", algorithm, toys.stream(), steps=8)
    for name in ("first", "second"):
        a, b = (getattr(one_of, name).model.state_dict() for one_of in (one, two))
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_the_share_rises_over_its_epochs():
    share = Forgetting(0.4, 10.0)
    assert [share(e) for e in (0, 5, 10, 50)] == pytest.approx([0, 0.2, 0.4, 0.4])
    assert Forgetting(0.4, 0.0)(0) == 0.4


def test_an_unread_image_is_never_among_the_easiest():
    losses = torch.tensor([0.0, 1.0, 2.0, 3.0])
    weight = easiest(losses, torch.tensor([False, True, True, True]), 0.4)
    assert weight.tolist() == [0, 4, 0, 0]


def beta_mixture(losses):
    """Ten rounds of EM for two beta distributions, in loops."""
    low, high = np.percentile(losses, [5, 95])

    def scale(v):
        return min(max((v - low) / (high - low + 1e-6), 1e-3), 1 - 1e-3)

    def density(v, a, b):
        front = math.gamma(a + b) / math.gamma(a) / math.gamma(b)
        return front * v ** (a - 1) * (1 - v) ** (b - 1)

    x = [scale(v) for v in losses if low <= v <= high]
    components = [(1.0, 2.0, 0.5), (2.0, 1.0, 0.5)]
    for _ in range(10):
        weights = []
        for v in x:
            each = [w * density(v, a, b) for a, b, w in components]
            weights.append([e / sum(each) for e in each])
        components = []
        for k in (0, 1):
            total = sum(w[k] for w in weights)
            mean = sum(w[k] * v for w, v in zip(weights, x, strict=True)) / total
            spread = sum(w[k] * (v - mean) ** 2 for w, v in zip(weights, x, strict=True)) / total
            a = mean * (mean * (1 - mean) / spread - 1)
            components.append((a, a * (1 - mean) / mean, total / len(x)))

    def posterior(value):
        v = scale(value)
        each = [w * density(v, a, b) for a, b, w in components]
        return each[1] / sum(each)

    return components, posterior


def two_kinds(n: int = 300):
    draw = np.random.default_rng(0)
    right, wrong = draw.gamma(2, 0.15, n), draw.normal(3.0, 0.5, n // 3)
    return np.concatenate([right, wrong])


def test_beta_mixture_is_em_in_loops():
    losses = two_kinds()
    components, posterior = beta_mixture(losses)
    fitted = fit_beta(losses)
    assert fitted[:6].reshape(2, 3) == pytest.approx(np.array(components), rel=1e-3)
    found = wrong_by_beta(losses, fitted)
    for value, w in zip(losses, found, strict=True):
        if value < 2.0:  # below the peak, whose value all larger losses have
            assert w == pytest.approx(posterior(value), abs=0.02)
    order = losses.argsort()
    assert (np.diff(found[order]) >= -1e-6)[losses[order][1:] > 1].all()
    assert found[:300].mean() < 0.1
    assert found[300:].mean() > 0.9


def test_gaussian_mixture_tells_right_from_wrong_and_leaves_unread_images_out():
    losses = two_kinds()
    losses[7] = np.nan
    found = right_by_gauss(losses)
    assert found[7] == 0
    assert np.delete(found[:300], 7).mean() > 0.95
    assert found[300:].mean() < 0.05


def test_m_correction_before_it_corrects_is_mixup():
    mix = Mix(32.0, 0.0, 5, "m-correction")
    one = toys.m_correction(first=99)
    two = Supervised(toys.learner(1), softmax_xent, "softmax")
    for algorithm, stream in ((one, toys.stream()), (two, toys.stream(mix=mix))):
        Run.memory().train("train", algorithm, stream, steps=8)
    a, b = one.learner.model.state_dict(), two.learner.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_m_correction_is_its_equations():
    """Eqs. 8-9, 15 and 16 with the mixture of the paper's EM, in loops."""
    algorithm = toys.m_correction(first=2)
    for batch in toys.stream().batches(0, 9):
        learner = algorithm.learner
        if algorithm.fits.due(batch.step):
            losses = np.zeros(40)
            for rows, x in toys.scan():
                for row, z in zip(rows.tolist(), logits(learner, x, False), strict=True):
                    label = int(toys.dataset().labels.index[row])
                    losses[row] = xent(z, [float(c == label) for c in range(3)])
            fitted = fit_beta(losses)
        y = batch.y.double().tolist()
        if batch.step >= 2:
            plain = logits(learner, batch.x, False)
            for i, z in enumerate(plain):
                (w,) = wrong_by_beta(np.array([xent(z, y[i])]), fitted).tolist()
                w = min(max(w, 1e-4), 1 - 1e-4)
                guess = [float(c == int(np.argmax(z))) for c in range(3)]
                y[i] = [(1 - w) * a + w * b for a, b in zip(y[i], guess, strict=True)]
        lam, _ = algorithm.mix.draw(batch.step, 1, 1)
        out = logits(learner, lam * batch.x + (1 - lam) * batch.x.flip(0), True)
        total = 0.0
        for i, z in enumerate(out):
            total += (lam * xent(z, y[i]) + (1 - lam) * xent(z, y[7 - i])) / 8
        if batch.step >= 2:
            mean = [sum(softmax(z)[c] for z in out) / 8 for c in range(3)]
            total += sum(1 / 3 * math.log(1 / 3 / h) for h in mean)
        told = algorithm.step(batch)
        assert told["loss"].item() == pytest.approx(total, rel=2e-3)


def test_divide_mix_is_algorithm_1():
    """Division by the other network, co-refinement, co-guessing and Eq. 11, in loops."""
    algorithm = toys.divide_mix(first=1)
    networks = (algorithm.first, algorithm.second)
    kinds = set()
    for batch in toys.stream().batches(0, 9):
        said = [[softmax(z) for z in logits(net, batch.x, False)] for net in networks]
        before = [{k: v.clone() for k, v in net.model.state_dict().items()} for net in networks]
        told = algorithm.step(batch)
        if batch.step < 1:
            continue
        after = [{k: v.clone() for k, v in net.model.state_dict().items()} for net in networks]
        for own, name in enumerate(("first_loss", "second_loss")):
            w = algorithm.right[1 - own, batch.rows].double().tolist()
            targets = []
            for i in range(8):
                if w[i] > 0.5:
                    pairs = zip(batch.y[i].tolist(), said[own][i], strict=True)
                    mixed = [w[i] * a + (1 - w[i]) * b for a, b in pairs]
                else:
                    mixed = [(a + b) / 2 for a, b in zip(said[0][i], said[1][i], strict=True)]
                powers = [p**2 for p in mixed]
                targets.append([p / sum(powers) for p in powers])
            lam, _ = algorithm.mixes[own].draw(batch.step, 1, 1)
            lam = max(lam, 1 - lam)
            networks[own].model.load_state_dict(before[own])
            out = logits(networks[own], lam * batch.x + (1 - lam) * batch.x.flip(0), True)
            networks[own].model.load_state_dict(after[own])
            l_x, l_u = [], []
            for i, z in enumerate(out):
                y = [
                    lam * a + (1 - lam) * b for a, b in zip(targets[i], targets[7 - i], strict=True)
                ]
                if w[i] > 0.5:
                    l_x.append(xent(z, y))
                else:
                    l_u.append(sum((p - t) ** 2 for p, t in zip(softmax(z), y, strict=True)) / 3)
            kinds |= {bool(l_x), 2 + bool(l_u)}
            weight = 25.0 * min(batch.step * 8 // 40 / 2, 1)
            mean = [sum(softmax(z)[c] for z in out) / 8 for c in range(3)]
            total = sum(l_x) / max(1, len(l_x)) + weight * sum(l_u) / max(1, len(l_u))
            total += sum(1 / 3 * math.log(1 / 3 / h) for h in mean)
            assert told[name].item() == pytest.approx(total, rel=1e-3)
    assert {1, 3} <= kinds, "no labelled or no unlabelled image: nothing was tested"


def test_a_network_is_divided_for_by_the_other():
    algorithm = toys.divide_mix(first=0)
    Run.memory().train("train", algorithm, toys.stream(), steps=1)
    assert not torch.equal(algorithm.right[0], algorithm.right[1])


@pytest.mark.parametrize("make", [toys.m_correction, toys.divide_mix])
def test_the_mixture_is_fitted_once_a_pass(make, monkeypatch):
    algorithm = make(first=3)
    seen = []
    module = __import__(f"reteach.methods.{make.__name__}", fromlist=["losses_of"])
    real = module.losses_of
    monkeypatch.setattr(module, "losses_of", lambda *told: seen.append(told) or real(*told))
    Run.memory().train("train", algorithm, toys.stream(), steps=12)
    assert len(seen) == 2 * (2 if make is toys.divide_mix else 1)  # before steps 3 and 8


def test_every_epoch():
    assert [s for s in range(12) if EveryEpoch(3, 4).due(s)] == [3, 7, 11]


def test_images_that_cannot_be_read_add_nothing():
    """Their pixels are 0; neither network may learn from them."""
    for make in (toys.co_teaching, toys.m_correction, toys.divide_mix):
        algorithm = make()
        (batch,) = toys.stream().batches(0, 1)
        told = algorithm.step(replace(batch, readable=torch.zeros(8), complete=False))
        for name, value in told.items():
            if name.endswith("loss"):
                assert value.item() == 0
