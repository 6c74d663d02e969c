"""Rate and weight decay of a linear layer on features: chosen on held-out given labels, once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reteach import sealed
from reteach.cli import main
from reteach.data.dataset import Dataset
from reteach.data.loading.views import DrawnView, FirstView
from reteach.data.sources.base import ArraySource
from reteach.data.sources.feature_table import FORMAT, INDEX, FeatureShard, write_shard
from reteach.engine.optimizer import schedule_of
from reteach.labels import Multi, Single
from reteach.models.feature_heads import LENGTH
from reteach.options.shared import Training
from reteach.runs import head_choice
from reteach.runs.head_choice import choose

D, CLASSES = 12, tuple("abcdefgh")


def features(count: int, seed: int = 0, wrong: float = 0.0) -> Dataset:
    """Classes with a direction each; a share of the labels drawn anew."""
    draw = np.random.default_rng(seed)
    index = draw.integers(0, len(CLASSES), count)
    centres = np.random.default_rng(9).normal(0, 1, (len(CLASSES), D))
    x = centres[index] + draw.normal(0, 1, (count, D))
    noisy = draw.random(count) < wrong
    index[noisy] = draw.integers(0, len(CLASSES), int(noisy.sum()))
    source = ArraySource(x.astype(np.float16), features={"backbone": "x"})
    return Dataset.of(source, Single(index, CLASSES))


def test_the_mean_of_sigmoids_gets_a_higher_rate_and_their_sum_does_not():
    data, training = features(300), Training(batch_size=32)
    mean = choose(data, training, "sigmoid", 60)
    total = choose(data, training, "sigmoid", 60, summed=True)
    assert mean.lr >= 3 * 0.1 * 32 / 256
    assert mean.lr > total.lr


def test_the_rates_of_a_mean_of_many_sigmoids_reach_as_far_as_those_of_their_sum():
    """53 classes, as in street photos: 30 times the usual rate is not yet enough."""
    draw = np.random.default_rng(4)
    index = draw.integers(0, 53, 400)
    x = np.random.default_rng(9).normal(0, 1, (53, D))[index] + draw.normal(0, 1, (400, D))
    source = ArraySource(x.astype(np.float16), features={"backbone": "x"})
    data = Dataset.of(source, Single(index, tuple(f"c{i:02}" for i in range(53))))
    found = choose(data, Training(batch_size=32, weight_decay=0.0), "sigmoid", 60)
    assert found.lr > 30 * 0.1 * 32 / 256
    summed = choose(data, Training(batch_size=32, weight_decay=0.0), "sigmoid", 60, summed=True)
    best = min(min(found.loss.values()), min(summed.loss.values()))
    assert min(found.loss.values()) < 1.02 * best


def test_a_higher_rate_is_tried_where_weight_decay_bears_it():
    """Many passes over noisy labels: a low rate is best without decay, and a higher one with it."""
    data, training = features(150, wrong=0.6), Training(batch_size=32)
    found = choose(data, training, "softmax", 400)
    lr, decay = found.lr, found.weight_decay
    assert f"lr {3 * lr:g}, weight decay {decay:g}" in found.loss or decay == 1e-4
    assert found.loss[f"lr {lr:g}, weight decay {decay:g}"] == min(found.loss.values())


def test_many_steps_on_noise_get_more_weight_decay_or_a_lower_rate():
    data, training = features(150, wrong=0.6), Training(batch_size=32, lr=1.0)
    found = choose(data, training, "softmax", 400)
    assert found.lr == 1.0, "it was given"
    assert found.weight_decay > 1e-4


def test_usual_values_stay_where_nothing_is_surely_better():
    draw = np.random.default_rng(0)
    data = features(120)
    chance = data.with_labels(Single(draw.integers(0, 8, 120), CLASSES))
    found = choose(chance, Training(batch_size=32, lr=1e-4), "softmax", 10)
    assert (found.lr, found.weight_decay) == (1e-4, 1e-4)


def test_same_seed_same_choice_and_labels_held_out_elsewhere_have_no_say():
    data, training = features(200), Training(batch_size=32)
    assert choose(data, training, "softmax", 40) == choose(data, training, "softmax", 40)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_search_trains_as_torch_does(loss):
    """Each point of the grid beside torch.optim.SGD, batch by batch."""
    data, training = features(60), Training(batch_size=16)
    search = head_choice._Search.of(data, training, loss, 12, summed=False)
    rows = torch.ones(60, dtype=torch.bool)
    grid = [(0.3, 0.0), (1.0, 0.01)]
    found = search._fit(rows, grid, 0)(search.x)
    mean = search.x.mean(0)
    scale = LENGTH * D**-0.5 / (search.x.var(0, correction=0) + 1e-5).sqrt()
    from reteach import rng

    for at, (rate, decay) in enumerate(grid):
        draw = torch.Generator().manual_seed(rng.fold(training.seed, "head choice", 0))
        layer = torch.nn.Linear(D, 8)
        with torch.no_grad():
            layer.weight.copy_((torch.rand((8, D), generator=draw) * 2 - 1) * D**-0.5)
            layer.bias.zero_()
        groups = [
            {"params": [layer.weight], "weight_decay": decay},
            {"params": [layer.bias], "weight_decay": 0.0},
        ]
        sgd = torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True)
        order = torch.zeros(0, dtype=torch.int64)
        for step in range(12):
            if len(order) < 16:
                order = torch.cat([order, torch.randperm(60, generator=draw)])
            batch, order = order[:16], order[16:]
            logits = layer((search.x[batch] - mean) * scale)
            y = search.y[batch]
            if loss == "softmax":
                value = torch.nn.functional.cross_entropy(logits, y)
            else:
                value = torch.nn.functional.binary_cross_entropy_with_logits(logits, y)
            for group in sgd.param_groups:
                group["lr"] = schedule_of(Training(lr=rate), 12)(step)
            sgd.zero_grad()
            value.backward()
            sgd.step()
        expected = layer((search.x - mean) * scale)
        torch.testing.assert_close(found[at], expected.detach(), rtol=1e-4, atol=1e-5)


def test_what_is_unknown_has_no_say():
    data = features(80)
    present = np.eye(8, dtype=bool)[data.labels.index]  # type: ignore[attr-defined]
    unknown = np.random.default_rng(1).random(present.shape) < 0.3
    whole = Multi.from_dense(present & ~unknown, CLASSES)
    sets = Multi(whole.starts, whole.columns, CLASSES, Multi.from_dense(unknown, CLASSES))
    search = head_choice._Search.of(data.with_labels(sets), Training(), "sigmoid", 5, False)
    assert np.array_equal(search.known.numpy() == 0, unknown)
    loss = search._loss(torch.full((1, 80, 8), 3.0), search.y, search.known)
    again = search._loss(
        torch.full((1, 80, 8), 3.0), search.y + 5 * (1 - search.known), search.known
    )
    assert torch.equal(loss, again)


def table(out: Path, data: Dataset, views: int = 1, classes: bool = False) -> Path:
    source = data.source
    x = np.stack([source.read(row)[0, 0] for row in range(len(data))])[:, None].astype(np.float16)
    more = [x + np.float16(0.3 * v) for v in range(views)]
    names = [CLASSES[c] for c in data.labels.index]  # type: ignore[attr-defined]
    settings = {"backbone": "x", "views": views}
    items = [f"{name}/{row}" for row, name in enumerate(names)]
    shard = FeatureShard(
        settings, "p", items, np.concatenate(more, 1), (), names if classes else None
    )
    digest = write_shard(out / "part-000000.parquet", shard)
    said = {"format": FORMAT, "settings": settings, "complete": True}
    sealed.write_json(out / INDEX, said | {"shards": {"part-000000": digest}})
    return out


def test_the_choice_is_recorded_told_and_not_made_again_on_resume(tmp_path, monkeypatch, capsys):
    images = ["--images", str(table(tmp_path / "x.features", features(160), classes=True))]
    steps = ["--steps", "30", "--batch-size", "16"]
    asked = ["train", "sigmoid", *images, *steps, "--out", f"{tmp_path}/run"]
    assert main(asked) == 0
    assert "--lr " in capsys.readouterr().err
    kept = json.loads((tmp_path / "run" / "head.json").read_text())
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["derived"] == {"lr": kept["lr"], "weight_decay": kept["weight_decay"]}
    assert (tmp_path / "run" / "report.html").read_text().count("weight decay (chosen)") == 1
    monkeypatch.setattr(head_choice, "choose", None)
    assert main(["resume", f"{tmp_path}/run"]) == 0
    given = ["--lr", "0.1", "--weight-decay", "0"]
    assert main([*asked[:-1], f"{tmp_path}/given", *given]) == 0
    assert not (tmp_path / "given" / "head.json").exists()


def test_a_view_is_drawn_by_the_seed_alone_and_evaluation_sees_the_first():
    images = torch.arange(2 * 3 * 5, dtype=torch.float32).reshape(2, 3, 1, 5)
    seeds = np.random.default_rng(0).integers(0, 2**62, 400)
    drawn = torch.cat([DrawnView().batch(images, seeds[i : i + 2]) for i in range(0, 400, 2)])
    singly = torch.stack([DrawnView()(images[i % 2], int(seed)) for i, seed in enumerate(seeds)])
    assert torch.equal(drawn, singly)
    assert drawn.shape == (400, 3, 1, 1)
    first = drawn[::2, 0, 0, 0].long().tolist()
    assert set(first) == {0, 1, 2, 3, 4}
    assert max(first.count(v) for v in range(5)) < 80, "each equally often, 40 of 200"
    assert torch.equal(FirstView().batch(images, seeds[:2]), images[..., :1])


def test_training_draws_views_and_resumes_exactly(tmp_path, monkeypatch):
    import os
    import signal

    from reteach.models.feature_heads import FeatureNet

    images = ["--images", str(table(tmp_path / "x.features", features(96), 4, classes=True))]
    steps = ["--steps", "30", "--batch-size", "16", "--lr", "0.1", "--weight-decay", "0"]
    asked = ["train", "softmax", *images, *steps]

    def weights(name: str) -> bytes:
        return (tmp_path / name / "models" / "model" / "model.safetensors").read_bytes()

    assert main([*asked, "--out", f"{tmp_path}/a"]) == 0
    assert main([*asked, "--out", f"{tmp_path}/none", "--augment", "none"]) == 0
    assert weights("a") != weights("none")
    one = ["--images", str(table(tmp_path / "one.features", features(96), 1, classes=True))]
    assert main(["train", "softmax", *one, *steps, "--out", f"{tmp_path}/one"]) == 0
    assert weights("one") == weights("none"), "without augmentation the first view alone is seen"
    calls, forward = [0], FeatureNet.forward_features

    def stopping(self: FeatureNet, x: torch.Tensor) -> torch.Tensor:
        calls[0] += self.training
        if calls[0] == 12:
            calls[0] += 1
            os.kill(os.getpid(), signal.SIGINT)
        return forward(self, x)

    monkeypatch.setattr(FeatureNet, "forward_features", stopping)
    assert main([*asked, "--out", f"{tmp_path}/b"]) == 130
    monkeypatch.undo()
    assert main(["resume", f"{tmp_path}/b"]) == 0
    assert weights("a") == weights("b")
    predict = ["predict", f"{tmp_path}/a", *images, "--out", f"{tmp_path}/p.csv"]
    assert main(predict) == 0
