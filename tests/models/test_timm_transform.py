"""A saved network gives timm's users what it gives us: through timm's own transform, and by its card."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from reteach.data.loading.batch import Normalize
from reteach.data.loading.clips import evaluation
from reteach.data.loading.decode import decode
from reteach.models import export, zoo
from reteach.models.heads import classifier_of

MEAN, STD = (0.4, 0.5, 0.45), (0.2, 0.25, 0.3)
CLASSES = ("a", "b", "c", "d", "e")


def photos(folder: Path) -> list[Path]:
    """72 pictures of odd shapes, some smaller than the input."""
    rng = np.random.default_rng(0)
    files = []
    for i in range(72):
        height, width = (int(n) for n in rng.integers(30, 200, 2))
        coarse = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        files.append(folder / f"{i}.png")
        image.save(files[-1])
    return files


def saved(folder: Path, name: str, resize: str, by: str = "bilinear") -> torch.nn.Module:
    model = zoo.create(name, len(CLASSES), image_size=64, seed=1).eval()
    noise = torch.randn(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # scores that differ from class to class and from image to image
        head = classifier_of(model)
        logits = model(noise.cumsum(2).cumsum(3) / 30)
        head.weight.mul_(2 / logits.std(0).mean())
        head.bias.sub_(model(noise.cumsum(2).cumsum(3) / 30).mean(0))
    export.save(
        model, folder, architecture=name, num_classes=5, in_chans=3, mean=MEAN, std=STD,
        classes=CLASSES, image_size=64, resize=resize, interpolation=by, model_args={}, extra={},
    )  # fmt: skip
    return model


@pytest.mark.parametrize("resize", ["square", "shorter"])
@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("reteach_small", "bilinear"),
        ("resnet10t", "bicubic"),
        ("tf_efficientnet_lite0", "bilinear"),
    ],
)
def test_timms_own_transform_gives_our_answers(tmp_path, name, resize, by):
    """Also of architectures whose own settings are others: bicubic, crop_pct 0.95 or 0.875."""
    model = saved(tmp_path / "m", name, resize, by)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(theirs)
    transform = timm.data.create_transform(**config, is_training=False)
    view, prepare = evaluation(64, None, resize, by), Normalize(MEAN, STD, channels=3)
    apart, classes = [], set()
    for file in photos(tmp_path):
        pixels = torch.from_numpy(decode(file)).permute(2, 0, 1)
        with torch.no_grad():
            ours = model(prepare(view(pixels, 0)[None])).softmax(-1)[0]
            other = theirs(transform(Image.open(file).convert("RGB"))[None]).softmax(-1)[0]
        assert ours.argmax() == other.argmax()
        classes.add(int(ours.argmax()))
        apart.append(float((ours - other).abs().max()))
    assert max(apart) < 1e-3
    assert len(classes) > 1


def test_the_card_names_the_import_of_our_networks(tmp_path):
    """Its snippet runs as it stands, in a fresh process beside a photo."""
    for name, ours in (("reteach_tiny", True), ("resnet10t", False)):
        folder = tmp_path / name
        saved(folder, name, "square")
        card = (folder / "README.md").read_text()
        assert ("import reteach.models.zoo" in card) == ours
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        Image.new("RGB", (90, 50), "red").save(folder / "photo.jpg")
        done = subprocess.run(
            [sys.executable, "-c", code + "print(tuple(scores.shape))"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.split("\n")[-2] == "(1, 5)", done.stderr


def test_images_that_keep_their_size_are_told_so(tmp_path):
    model = zoo.create("reteach_tiny", 5, in_chans=1, seed=0)
    export.save(
        model, tmp_path, architecture="reteach_tiny", num_classes=5, in_chans=1, mean=(0.5,), std=(0.5,),
        classes=CLASSES, image_size=None, own_size=(28, 20), model_args={}, extra={},
    )  # fmt: skip
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    config = timm.data.resolve_model_data_config(theirs)
    assert tuple(config["input_size"]) == (1, 28, 20)
    pixels = np.random.default_rng(0).integers(0, 256, (28, 20)).astype(np.uint8)
    seen = timm.data.create_transform(**config)(Image.fromarray(pixels))
    assert torch.allclose(seen[0], torch.from_numpy(pixels) / 127.5 - 1, atol=1e-5)
