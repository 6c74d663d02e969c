"""The size of the input comes from pixels and network, not from what the images lie in."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reteach.cli import main
from reteach.data.dataset import Dataset
from reteach.data.sources.base import open_source
from reteach.labels import Single
from reteach.options import shared as options
from reteach.options.methods import METHODS
from reteach.runs.config import Config
from reteach.runs.inputs import Inputs
from reteach.runs.setup import make_setup
from reteach.runs.sizes import Sizes, chosen_size, misfit, sizes_of


def pictures(root: Path, side: int, count: int = 8, wide: int | None = None) -> tuple[Path, Path]:
    """A folder of PNGs, and an array file with the same pixels and names."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 255, (count, side, wide or side, 3)).astype(np.uint8)
    folder = root / f"folder{side}"
    folder.mkdir()
    names = [f"{i:02}.png" for i in range(count)]
    for name, one in zip(names, pixels, strict=True):
        Image.fromarray(one).save(folder / name)
    np.savez(root / f"{side}.npz", images=pixels, items=np.array(names))
    return folder, root / f"{side}.npz"


def made(where: Path, model: str = "reteach_tiny", **given):
    source = open_source(where)
    labels = Single(np.arange(len(source)) % 2, ("a", "b"))
    config = Config(
        "softmax",
        METHODS["softmax"].settings(),
        options.Data(workers=0),
        options.Model(model=model, device="cpu", **given),
        options.Training(steps=2, batch_size=4),
    )
    return make_setup(config, Inputs(Dataset.of(source, labels), None, None), torch.device("cpu"))


@pytest.mark.parametrize("model", ["reteach_tiny", "test_resnet"])
def test_small_photos_in_a_folder_are_trained_on_as_the_same_pixels_in_an_array(tmp_path, model):
    a, b = (made(where, model) for where in pictures(tmp_path, 24))
    assert a.total == b.total
    assert a.training == b.training or a.training.augment == "none"
    x, y = (
        next(setup.stream(order=setup.order(setup.train, "train")).batches(0, 1)).x
        for setup in (a, b)
    )
    assert torch.equal(x, y), "the same pixels, neither resized nor cropped"
    seen = [next(iter(setup.scan(setup.train)))[1] for setup in (a, b)]
    assert torch.equal(*seen)
    weights = [setup.learner().model.state_dict() for setup in (a, b)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_folder_of_photos_has_the_size_of_the_network(tmp_path):
    setup = made(pictures(tmp_path, 70)[0], "test_resnet")
    assert setup.image_size == 160
    assert setup._augmentation.kind == "crop"


def test_the_sizes_of_a_folder_are_those_of_the_array(tmp_path):
    for side, wide, small in ((24, 24, 24), (65, 65, None), (24, 30, None)):
        root = tmp_path / f"{side}-{wide}"
        root.mkdir()
        for where in pictures(root, side, wide=wide):
            source = open_source(where)
            data = Dataset.of(source, Single(np.zeros(len(source), int), ("a", "b")))
            assert sizes_of(data) == Sizes(side, small)


@pytest.mark.parametrize(
    ("name", "sizes", "tuned", "side"),
    [
        ("test_resnet", Sizes(32, 32), False, (32, None)),
        ("test_resnet", Sizes(300, None), False, (160, None)),
        ("tf_efficientnet_lite0", Sizes(32, 32), True, (160, 160)),
        ("tf_efficientnet_lite0", Sizes(300, None), True, (224, 224)),
        ("vit_tiny_patch16_224", Sizes(32, 32), True, (224, 224)),
        ("reteach_tiny", Sizes(8, 8), True, (8, None)),
    ],
)
def test_the_size_is_chosen_from_backbone_and_photos(tmp_path, name, sizes, tuned, side):
    for where, expected in zip(pictures(tmp_path, 16), side, strict=True):
        source = open_source(where)
        data = Dataset.of(source, Single(np.zeros(len(source), int), ("a", "b")))
        model = options.Model(model=name)
        found = chosen_size(model, data, sizes, fine_tuned=tuned, resident=False)
        assert found == expected


@pytest.mark.parametrize(
    ("name", "side", "shorter", "tuned", "words"),
    [
        ("reteach_mid", 32, 256, False, "shrunk to 32 for reteach_mid.*--image-size 224"),
        ("resnet18", 224, 32, False, "blown up to 224, 49 times the pixels.*--image-size 32"),
        ("tf_efficientnet_lite0", 64, 100, True, "are of images of 224 pixels and it sees 64"),
        ("tf_efficientnet_lite0", 224, 32, True, "--image-size 160 is faster"),
        ("tf_efficientnet_lite0", 160, 32, True, None),
        ("tf_efficientnet_lite0", 224, 3000, True, None),
        ("resnet18", 224, 256, False, None),
        ("reteach_mid", 32, 32, False, None),
    ],
)
def test_small_images_blown_up_and_large_ones_starved_are_said(name, side, shorter, tuned, words):
    found = misfit(options.Model(model=name), side, Sizes(shorter, None), fine_tuned=tuned)
    if words is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(words, found)


def test_training_from_scratch_on_photos_says_so_and_names_pretrained(tmp_path, capsys):
    for side, said in ((72, True), (24, False)):
        folder, _ = pictures(tmp_path, side, 12)
        table = tmp_path / f"{side}.csv"
        table.write_text(
            "item,labels\n" + "".join(f"{i:02}.png,{'ab'[i % 2]}\n" for i in range(12))
        )
        given = ["--images", str(folder), "--labels", str(table), "--model", "reteach_tiny"]
        given += ["--steps", "1", "--batch-size", "4", "--workers", "0", "--device", "cpu"]
        assert main(["train", "softmax", *given, "--out", f"{tmp_path}/run{side}"]) == 0
        told = capsys.readouterr().err
        assert ("starts from scratch" in told) == said
        assert ("--pretrained --freeze" in told) == said
