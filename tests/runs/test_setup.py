"""What surrounds a method: what its setup warns of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from reteach.data.dataset import Dataset
from reteach.data.sources.base import ArraySource, open_source
from reteach.engine.setup import Setup
from reteach.errors import UserError
from reteach.labels import Multi, Single
from reteach.options.methods import SigmoidOptions, SoftmaxOptions
from reteach.options.shared import Data, Model, Training
from reteach.runs.config import Config
from reteach.runs.inputs import Inputs
from reteach.runs.setup import make_setup

MARK = 40


@pytest.mark.parametrize(
    ("capability", "precision", "warns"),
    [("AVX2", "bf16", True), ("AVX2", "fp32", False), ("AVX512", "bf16", False)],
)
def test_half_precision_on_a_processor_without_it(capability, precision, warns, monkeypatch):
    """Such a processor takes many times as long for it, which nobody would expect."""
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    images = np.zeros((8, 8, 8), np.uint8)
    data = Dataset.of(ArraySource(images), Single(np.arange(8) % 2, ("a", "b")))
    model = Model("reteach_tiny", precision=precision, device="cpu")
    config = Config("softmax", SoftmaxOptions(), Data("x"), model, Training(steps=1))
    setup = make_setup(config, Inputs(data, None, None), torch.device("cpu"))
    assert [f"slowly in {precision}" in line for line in setup.warnings] == [True] * warns


def wide_photos(folder, n: int = 4) -> Dataset:
    """Black photos, three times as wide as high, with a white object at the very left or right border."""
    for i in range(n):
        pixels = np.zeros((60, 180, 3), np.uint8)
        pixels[20:40, slice(0, MARK // 2) if i % 2 else slice(-MARK // 2, None)] = 255
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return Dataset.of(open_source(folder), Multi.from_dense(np.ones((n, 2)), ("a", "b")))


def setup_of(data: Dataset, model: Model, **training) -> Setup:
    config = Config(
        "sigmoid", SigmoidOptions(), Data("x", workers=0), model, Training(steps=1, **training)
    )
    return make_setup(config, Inputs(data, None, None), torch.device("cpu"))


@pytest.mark.parametrize("cutout", [0.0, 0.2])
def test_labelled_objects_at_the_border_are_seen(tmp_path, cutout):
    """Of label sets the whole photo is seen, by evaluation and in every training view."""
    data = wide_photos(tmp_path)
    model = Model("reteach_tiny", image_size=48, device="cpu")
    setup = setup_of(data, model, batch_size=4, cutout=cutout)
    area = MARK / 2 * 20 / (60 * 180) * 48 * 48
    for rows, x in setup.scan(data):
        white = (x > x.mean() + x.std()).float().mean(1).sum((1, 2))
        assert len(rows) == 4
        assert (white > 0.7 * area).all()
    augment = setup.augment()
    pixels = torch.from_numpy(data.source.read(0)).permute(2, 0, 1)
    sides = set()
    for seed in range(60):
        view = augment(pixels, seed).float().mean(0)
        bright = view > 180
        if cutout == 0:
            assert bright.sum() > 0.7 * area
        sides.add(bool(bright[:, :24].sum() > bright[:, 24:].sum()))
    assert sides == {False, True}  # flipped, nothing else
    shorter = setup_of(data, Model("reteach_tiny", image_size=48, resize="shorter", device="cpu"))
    assert not any((x > x.mean() + 2 * x.std()).any() for _, x in shorter.scan(data))


def test_the_default_of_resize_is_by_the_labels(tmp_path):
    data = wide_photos(tmp_path)
    model = Model("reteach_tiny", image_size=48, device="cpu")
    assert setup_of(data, model).resize == "square"
    single = data.with_labels(Single(np.arange(4) % 2, ("a", "b")))
    assert setup_of(single, model).resize == "shorter"
    arrays = Dataset.of(ArraySource(np.zeros((4, 9, 8, 3), np.uint8)), single.labels)
    with pytest.raises(UserError, match="--resize has no effect on arrays"):
        setup_of(arrays, Model("reteach_tiny", resize="square", device="cpu"))
