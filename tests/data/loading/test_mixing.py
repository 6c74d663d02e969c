"""Mixup and cutmix: timm's own computation on our draws, its distribution, and functions of the step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from timm.data import mixup as timm_mixup

import toys
from reteach import rng
from reteach.data.loading.augment import Plain
from reteach.data.loading.mixing import Mix
from reteach.errors import UserError
from reteach.labels import Multi
from reteach.options.methods import METHODS
from reteach.options.shared import Training
from reteach.runs.config import Config


def streams(mix, **more):
    data = toys.dataset(size=12)
    return (
        toys.stream(data, augment=Plain(), mix=one, **more).batches(0, 12) for one in (None, mix)
    )


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_mixed_batches_are_those_of_timm(monkeypatch, alphas):
    mix = Mix(*alphas, seed=3, name="train")
    kinds = set()
    for plain, mixed in zip(*streams(mix), strict=True):
        lam, box = mix.draw(plain.step, 12, 12)
        kinds.add(box is None)
        theirs = timm_mixup.Mixup(
            mixup_alpha=alphas[0], cutmix_alpha=alphas[1], label_smoothing=0.0, num_classes=3
        )
        monkeypatch.setattr(theirs, "_params_per_batch", lambda found=(lam, box is not None): found)
        monkeypatch.setattr(
            timm_mixup, "cutmix_bbox_and_lam", lambda *_, found=(box, lam), **__: found
        )
        x, y = theirs(plain.x.clone(), plain.y.argmax(1))
        assert torch.allclose(mixed.x, x, atol=1e-6)
        assert torch.allclose(mixed.y, y.float(), atol=1e-6)
    assert kinds == {kind for kind, alpha in zip((True, False), alphas, strict=True) if alpha}


def test_the_box_is_timms_and_lambda_its_share(monkeypatch):
    mix = Mix(0.0, 1.0, seed=0, name="train")
    for step in range(200):
        lam, box = mix.draw(step, 9, 14)
        chance = np.random.default_rng(rng.fold(0, "train", "mix", step))
        drawn = chance.beta(1.0, 1.0)
        monkeypatch.setattr(
            timm_mixup.np.random, "randint", lambda a, b, size=None, own=chance: own.integers(b)
        )
        theirs, left = timm_mixup.cutmix_bbox_and_lam((1, 1, 9, 14), drawn)
        assert tuple(box) == tuple(map(int, theirs))
        assert lam == pytest.approx(left)
        pixels = [(i, j) for i in range(9) for j in range(14)]
        kept = [not (box.top <= i < box.bottom and box.left <= j < box.right) for i, j in pixels]
        assert lam == pytest.approx(sum(kept) / len(pixels))


def test_lambda_is_drawn_from_beta():
    lams = np.array([Mix(0.3, 0.0, 0, "train").draw(step, 4, 4)[0] for step in range(2000)])
    assert lams.mean() == pytest.approx(0.5, abs=0.03)
    assert lams.var() == pytest.approx(1 / (4 * (2 * 0.3 + 1)), abs=0.01)


def test_a_mixed_stream_starts_anywhere():
    mix = Mix(0.8, 1.0, seed=3, name="train")
    whole = list(toys.stream(mix=mix).batches(0, 9))
    part = list(toys.stream(mix=mix).batches(4, 9))
    assert all(
        torch.equal(a.x, b.x) and torch.equal(a.y, b.y)
        for a, b in zip(whole[4:], part, strict=True)
    )
    assert not torch.equal(
        whole[0].x, next(toys.stream(mix=Mix(0.8, 1.0, 4, "train")).batches(0, 1)).x
    )


def test_what_is_unknown_in_one_of_the_two_stays_unknown():
    draw = np.random.default_rng(0)
    present, known = (draw.integers(0, 2, (40, 3)).astype(bool) for _ in range(2))
    data = toys.dataset(size=12).with_labels(Multi.from_dense(present, toys.CLASSES, known))
    mix = Mix(0.5, 0.0, 0, "train")
    for batch in toys.stream(data, augment=Plain(), mix=mix).batches(0, 3):
        lam, _ = mix.draw(batch.step, 12, 12)
        rows = batch.rows.tolist()
        for i, (row, other) in enumerate(zip(rows, rows[::-1], strict=True)):
            for c in range(3):
                assert batch.known[i, c] == (known[row, c] and known[other, c])
                y = [float(present[r, c] and known[r, c]) for r in (row, other)]
                assert math.isclose(batch.y[i, c], lam * y[0] + (1 - lam) * y[1], abs_tol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"), [("mixup", 0.2), ("cutmix", 1.0), ("class_weights", "balanced")]
)
def test_methods_that_do_not_take_a_setting_refuse_it(name, value):
    training = Training(**{name: value})
    trait = "weighs" if name == "class_weights" else "mixes"
    taken = {m for m, method in METHODS.items() if getattr(method, trait)}
    assert {"softmax", "sigmoid"} <= taken < METHODS.keys()
    for method, known in METHODS.items():
        if method in taken:
            Config(method, known.settings(), training=training)
            continue
        with pytest.raises(
            UserError,
            match=f"--{name.replace('_', '-')} has no effect with {method}; leave it out, or use softmax",
        ):
            Config(method, known.settings(), training=training)
