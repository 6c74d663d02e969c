"""Fine-tuning: a head at its optimum first, frozen weights that stay, rates that suit what is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from reteach.data.dataset import Dataset
from reteach.data.sources.base import ArraySource
from reteach.engine import linear_probe
from reteach.engine.learner import Learner
from reteach.engine.optimizer import optimizer_of
from reteach.engine.run import Run
from reteach.errors import UserError
from reteach.labels import Multi, Single
from reteach.methods.supervised import train_softmax
from reteach.models import blocks
from reteach.options import shared as options
from reteach.options.methods import METHODS, SoftmaxOptions
from reteach.runs import fine_tuning
from reteach.runs.config import Config
from reteach.runs.inputs import Inputs
from reteach.runs.setup import make_setup
from reteach.schedules import Constant

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A weight file of a small ResNet with batch-norm statistics that are not those of a fresh one."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=7)
    model.train()
    model(torch.randn(16, 3, 32, 32) * 2 + 0.5)
    file: Path = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.save(model.state_dict(), file)
    return file


def inputs() -> Inputs:
    draw = np.random.default_rng(0)
    index = draw.integers(0, 3, 30)
    images = draw.integers(0, 120, (30, 32, 32, 3)) + 60 * index[:, None, None, None]
    data = Dataset.of(ArraySource(images.astype(np.uint8)), Single(index, CLASSES))
    return Inputs(data.subset(np.arange(24)), data.subset(np.arange(24, 30)), None)


def setup_of(method: str = "softmax", folder: Path | None = None, **given):
    model = {k: given.pop(k) for k in list(given) if k in options.Model.__dataclass_fields__}
    training = options.Training(**({"steps": 3, "batch_size": 8, "augment": "none"} | given))
    model = {"model": "test_resnet", "image_size": 32, "device": "cpu"} | model
    model = options.Model(**model)
    config = Config(method, METHODS[method].settings(), options.Data(), model, training)
    return make_setup(config, inputs(), torch.device("cpu"), folder=folder)


def state(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}


def test_open_settings_become_those_of_fine_tuning_and_are_said(weights, capsys):
    setup = setup_of(init=weights)
    assert setup.training.lr == pytest.approx(0.002 * 8 / 256)
    assert (setup.training.warmup, setup.training.head_lr_scale) == (0.1, 1.0)
    assert (setup.batch_norm, setup.learner().clip) == ("keep", 1.0)
    assert setup.derived["lr"] == setup.training.lr
    assert "fine-tuning (convolutions): --lr 6.25e-05" in capsys.readouterr().err
    given = setup_of(init=weights, probe_first=False, lr=0.5, warmup=0.0, head_lr_scale=2.0)
    assert (given.training.lr, given.training.warmup, given.training.head_lr_scale) == (0.5, 0, 2)
    assert not {"lr", "warmup", "head_lr_scale"} & given.derived.keys()
    assert setup_of(init=weights, probe_first=False).training.head_lr_scale == 10, (
        "a fresh head learns faster"
    )


def test_from_scratch_nothing_changes():
    setup = setup_of()
    assert (setup.peak, setup.batch_norm, setup.derived) == (0.1 * 8 / 256, "update", {})
    assert setup.training.clip is None
    assert (setup.training.warmup, setup.training.head_lr_scale) == (0.0, 1.0)
    assert setup.probe is None


def test_transformers_get_lower_rates_and_decay_by_layer():
    for name, kind, decay in (
        ("test_vit", "transformer", 0.75),
        ("test_resnet", "convolutions", 1),
    ):
        network = timm.create_model(name, num_classes=3)
        chosen = fine_tuning.fine_tuning(options.Training(optimizer="adamw"), network, settled=True)
        assert fine_tuning.kind_of(network) == kind
        assert chosen[1].get("layer_decay", 1) == decay
    assert fine_tuning.statistics(options.Model(pretrained=True), 10_001) == "update"


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_the_probe_is_where_the_penalised_gradient_is_zero(link):
    """Oracle: logistic regression in float64 with plain loops; its gradient at the fitted head is zero."""
    draw = np.random.default_rng(1)
    x = draw.normal(3, (1, 2, 0.1, 5), (40, 4))
    index = (x[:, 0] > 3).astype(int) + (x[:, 1] > 4)
    labels = Single(index, CLASSES)
    if link == "sigmoid":
        labels = Multi.from_dense(
            np.eye(3, dtype=bool)[index] | (draw.random((40, 3)) < 0.2), CLASSES
        )
    head = linear_probe.fit(torch.from_numpy(x).float(), labels, link, seed=0)
    mean, scale = x.mean(0), linear_probe.LENGTH * 4**-0.5 / x.std(0)
    z, w = (x - mean) * scale, head.weight.astype(float) / scale
    b = head.bias + head.weight.astype(float) @ mean
    y = labels.dense().numpy().astype(float)
    gradient, offset = np.zeros_like(w), np.zeros(3)
    for i in range(40):
        logits = w @ z[i] + b
        p = (
            1 / (1 + np.exp(-logits))
            if link == "sigmoid"
            else np.exp(logits) / np.exp(logits).sum()
        )
        share = (p - y[i]) / 40 / (3 if link == "sigmoid" else 1)
        gradient += np.outer(share, z[i])
        offset += share
    gradient += head.penalty * w / (3 if link == "sigmoid" else 1)
    assert abs(gradient).max() < 1e-4
    assert abs(offset).max() < 1e-4
    assert head.images == 40


def test_the_head_is_at_its_optimum_before_the_first_step_and_the_backbone_as_it_was(weights):
    probed, plain = setup_of(init=weights), setup_of(init=weights, probe_first=False)
    a, b = state(probed.learner()), state(plain.learner())
    assert all(torch.equal(a[name], b[name]) for name in a if not name.startswith("fc."))
    model = probed.learner().model.eval()
    data = probed.train
    x = probed.prepare(
        torch.from_numpy(np.stack([data.source.read(i) for i in data.rows])).permute(0, 3, 1, 2)
    )
    with torch.no_grad():
        right = (model(x).argmax(1).numpy() == data.labels.index).mean()
    assert right > 0.9
    assert probed.derived["probe_images"] == 24


def test_the_probe_is_kept_and_a_damaged_one_refused(weights, tmp_path, monkeypatch):
    given = {"init": weights, "folder": tmp_path}
    first = state(setup_of(**given).learner())
    monkeypatch.setattr(linear_probe, "probe", None)
    again = state(setup_of(**given).learner())
    assert all(torch.equal(first[name], again[name]) for name in first)
    (file,) = (tmp_path / "probe").iterdir()
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(UserError, match="delete it"):
        setup_of(**given).learner()


def test_a_probed_run_that_was_stopped_ends_in_the_same_weights(weights, tmp_path):
    given = {"init": weights, "steps": 4}

    def trained(folder: Path, stop: int | None = None) -> dict[str, torch.Tensor]:
        setup = setup_of(folder=folder, **given)
        run = Run(folder, quiet=True, snapshot_seconds=0)
        if stop is not None:
            steps = iter(range(stop))
            with pytest.MonkeyPatch.context() as patch:
                update = Learner.update

                def counted(self, loss, batch):
                    next(steps)
                    update(self, loss, batch)

                patch.setattr(Learner, "update", counted)
                with pytest.raises((StopIteration, RuntimeError)):
                    train_softmax(setup, SoftmaxOptions(), run)
            run = Run(folder, quiet=True)
        return state(train_softmax(setup, SoftmaxOptions(), run).learner)

    whole, halves = trained(tmp_path / "whole"), trained(tmp_path / "halves", 2)
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_an_output_layer_from_the_file_is_not_replaced(weights, tmp_path):
    model = timm.create_model("test_resnet", num_classes=3)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    setup = setup_of(init=tmp_path / "own.pth")
    assert setup.probe is None
    assert setup.training.head_lr_scale == 1.0
    assert setup.learner().model.fc.weight.equal(model.fc.weight)


@pytest.mark.parametrize("kept", ["keep", "update"])
def test_batch_norm_statistics_are_kept_or_estimated_again(weights, kept):
    learner = setup_of(init=weights, batch_norm=kept).learner()
    before = state(learner)
    learner.infer(torch.randn(8, 3, 32, 32))  # evaluation in between changes nothing
    learner(torch.randn(8, 3, 32, 32))
    moved = [k for k, v in state(learner).items() if "running" in k and not v.equal(before[k])]
    assert bool(moved) == (kept == "update")


def test_what_comes_before_the_block_stays_bit_for_bit(weights):
    setup = setup_of(init=weights, freeze_until="layer3", batch_norm="update", lr=0.1)
    learner = setup.learner()
    before = state(learner)
    algorithm = train_softmax(replace(setup, judge=None), SoftmaxOptions(), Run.memory())
    after = state(algorithm.learner)
    frozen = [k for k in before if k.startswith(("conv1", "bn1", "layer1", "layer2"))]
    assert frozen
    assert all(before[k].equal(after[k]) for k in frozen)
    assert not before["layer3.0.conv1.weight"].equal(after["layer3.0.conv1.weight"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"freeze_until": "layr3", "init": True}, "no block 'layr3'; did you mean layer3"),
        ({"freeze_until": "conv1", "init": True}, "nothing comes before it"),
        ({"freeze_until": "layer3"}, "--pretrained or --init brings"),
        ({"batch_norm": "keep"}, "--pretrained or --init brings"),
        ({"probe_first": False}, "--no-probe-first has no effect without --pretrained or --init"),
        (
            {"model": "test_vit", "batch_norm": "update", "image_size": 160},
            "no batch normalisation",
        ),
        ({"model": "reteach_tiny", "layer_decay": 0.5}, "layers of a"),
        ({"min_crop": 0.5}, "--min-crop has no effect without --augment crop"),
    ],
)
def test_settings_of_fine_tuning_that_cannot_be_met_are_refused(weights, given, words):
    if given.get("init"):
        given = given | {"init": weights}
    with pytest.raises(UserError, match=words) as caught:
        setup_of(**given)
    assert "\n" not in str(caught.value)


def test_prior_bias_beside_a_probed_head_is_refused(weights):
    with pytest.raises(UserError, match="--prior-bias has no effect with --probe-first"):
        setup_of("sigmoid", init=weights).learner(prior_bias=True)


def test_layer_decay_multiplies_the_rate_once_per_layer():
    model = timm.create_model("test_vit", num_classes=3)
    scales = blocks.rate_scales(model, 0.5)
    depths = [
        scales[k] for k in ("cls_token", "blocks.0.attn.qkv.weight", "blocks.1.attn.qkv.weight")
    ]
    assert depths[0] < depths[1] == depths[2] / 2 < scales["head.weight"] == 1
    optimizer = optimizer_of(model, options.Training(layer_decay=0.5, head_lr_scale=3.0))
    learner = Learner(model, optimizer, Constant(0.1))
    rates = {id(p): g["lr_scale"] for g in learner.optimizer.param_groups for p in g["params"]}
    assert rates[id(model.head.weight)] == 3.0
    assert rates[id(model.cls_token)] == depths[0]


def test_crops_of_fine_tuning_take_more_of_the_photo(weights):
    setup = setup_of(init=weights, augment="crop")
    assert setup.augment().scale == (0.35, 1.0)
    assert setup_of(augment="crop").augment().scale == (0.08, 1.0)
    assert setup_of(augment="crop", min_crop=0.6).augment().scale == (0.6, 1.0)
