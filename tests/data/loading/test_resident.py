"""Images on the device give the batches that they give from the host, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from reteach.cli import main
from reteach.data.dataset import Dataset
from reteach.data.loading.augment import CropFlip, Plain, Train
from reteach.data.loading.batch import Normalize
from reteach.data.loading.resident import ResidentSource
from reteach.data.loading.samplers import Epochs
from reteach.data.loading.stream import Scan, Stream
from reteach.data.sources.arrays import ArraySource
from reteach.engine.fingerprint import describe
from reteach.labels import Single
from reteach.runs.checkpoint import load_models


def both(channels: int) -> tuple[Dataset, Dataset]:
    """The same 21 images of 12 × 12, on the host and on the device."""
    pixels = np.random.default_rng(0).integers(0, 256, (21, 12, 12, channels), np.uint8)
    labels = Single(np.arange(21) % 3, ("a", "b", "c"))
    source = ArraySource(pixels, [f"item {i}" for i in range(21)])
    return Dataset.of(source, labels), Dataset.of(ResidentSource(source, "cpu"), labels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", [Plain(), CropFlip(12), CropFlip(10, 2, "reflect"), Train(8)])
def test_the_same_batches_bit_for_bit(channels: int, augment: Any) -> None:
    prepare = Normalize((0.5,) * channels, (0.25,) * channels, channels, channels_last=True)
    streams = [
        Stream(data.subset(slice(1, None)), Epochs(np.arange(20), 3), 8, augment, prepare, 3)
        for data in both(channels)
    ]
    assert describe(streams[0], "stream") == describe(streams[1], "stream")
    for one, two in zip(*(stream.batches(2, 9) for stream in streams), strict=True):
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.y, two.y)
        assert torch.equal(one.rows, two.rows)


def test_the_same_scan_and_the_same_single_images() -> None:
    host, device = both(3)
    prepare = Normalize((0.5,) * 3, (0.25,) * 3)
    for (_, one), (_, two) in zip(
        *(Scan(d, Plain(), prepare, 8) for d in (host, device)), strict=True
    ):
        assert torch.equal(one, two)
    assert np.array_equal(host.source.read(5), device.source.read(5))
    assert list(host.source.items) == list(device.source.items)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    index = np.arange(60) % 3
    images = generator.integers(0, 256, (60, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=index, classes=["a", "b", "c"])
    return tmp_path / "x.npz"


def test_a_run_ends_with_the_same_weights(pack: Path, tmp_path: Path) -> None:
    words = ["train", "nct", "--images", str(pack), "--model", "reteach_tiny", "--device", "cpu"]
    words += ["--batch-size", "16", "--steps", "12", "--augment", "crop-flip"]
    assert main([*words, "--out", str(tmp_path / "host")]) == 0
    assert main([*words, "--resident", "--out", str(tmp_path / "device")]) == 0
    kept = [load_models(tmp_path / place, "cpu").predictor for place in ("host", "device")]
    for one, two in zip(kept[0].models, kept[1].models, strict=True):
        theirs = two.state_dict()
        assert all(torch.equal(leaf, theirs[name]) for name, leaf in one.state_dict().items())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--images", "FOLDER"], "--resident keeps arrays on the device"),
        (["--images", "PACK", "--image-size", "6"], "--resident keeps images as they are"),
    ],
)
def test_what_cannot_stay_on_the_device(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    for name in ("a/1.png", "b/2.png", "a/3.png", "b/4.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name)
    given = {"FOLDER": str(tmp_path / "photos"), "PACK": str(pack)}
    words = [given.get(word, word) for word in words]
    words += ["--model", "reteach_tiny", "--device", "cpu", "--val-fraction", "0.5"]
    assert main(["train", "softmax", *words, "--resident", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert reason in error
