"""Saved networks come back equal, here and in timm; damaged ones are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from reteach import files, sealed
from reteach.errors import UserError
from reteach.models import export, zoo

CLASSES = ("cat", "a, b", "<dog>")


def save(model: nn.Module, folder: Path, name: str, **changed: Any) -> None:
    given: dict[str, Any] = {
        "architecture": name,
        "num_classes": 3,
        "in_chans": 3,
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
        "classes": CLASSES,
        "image_size": None,
        "model_args": {},
        "extra": {"link": "sigmoid"},
    }
    export.save(model, folder, **given | changed)


def trained(name: str, **options: Any) -> nn.Module:
    """With other statistics of batch normalisation than a fresh network has."""
    model = zoo.create(name, 3, seed=1, **options)
    size = options.get("image_size") or zoo.default_image_size(name)
    model(torch.rand(4, options.get("in_chans", 3), size, size))
    return model.eval()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("reteach_tiny", {"in_chans": 1}),
        ("reteach_small", {"image_size": 32}),
        ("test_resnet", {"image_size": 64}),
        ("test_efficientnet", {"in_chans": 1}),
        ("vit_tiny_patch16_224", {"image_size": 32, "depth": 2}),
        ("test_vit", {}),
    ],
)
def test_same_outputs_here_and_in_timm(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = trained(name, **options)
    channels, size = options.get("in_chans", 3), options.get("image_size")
    args = {"depth": options["depth"]} if "depth" in options else {}
    stats = {"mean": (0.25,) * channels, "std": (0.5,) * channels}
    kwargs = {"in_chans": channels, "image_size": size, "model_args": args, **stats}
    save(model, tmp_path / "m", name, **kwargs)
    side = size or zoo.default_image_size(name)
    x = torch.rand(2, channels, side, side)
    expected = model(x)
    ours, info = export.load(tmp_path / "m")
    assert torch.equal(ours(x), expected)
    assert not ours.training
    assert zoo.normalisation(ours, channels) == (info.mean, info.std) == tuple(stats.values())
    assert info == export.Info(
        name, CLASSES, channels, size, stats["mean"], stats["std"], args, {"link": "sigmoid"}
    )
    theirs = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).eval()
    assert torch.equal(theirs(x), expected)
    assert list(theirs.pretrained_cfg["mean"]) == [0.25] * channels
    assert list(theirs.pretrained_cfg["label_names"]) == list(CLASSES)
    assert {file.name for file in (tmp_path / "m").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }


def test_any_memory_layout_is_saved(tmp_path: Path) -> None:
    model = trained("reteach_tiny").to(memory_format=torch.channels_last)
    model.stages[1][1].weight = model.stages[1][1].bias  # shared
    save(model, tmp_path / "m", "reteach_tiny")
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(export.load(tmp_path / "m")[0](x), model(x))


def test_a_folder_is_replaced_or_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "m"
    save(trained("reteach_tiny"), folder, "reteach_tiny")
    save(
        trained("reteach_small", in_chans=1), folder, "reteach_small", in_chans=1, mean=[0], std=[1]
    )
    assert export.load(folder)[1].architecture == "reteach_small"

    def crash(path: Path, data: bytes | str) -> None:
        if path.name == export.CONFIG:
            raise KeyboardInterrupt
        files.atomic_write(path, data)

    monkeypatch.setattr(export, "atomic_write", crash)
    with pytest.raises(KeyboardInterrupt):
        save(trained("reteach_tiny"), folder, "reteach_tiny")
    with pytest.raises(UserError, match="no complete model"):
        export.load(folder)


def test_class_names_must_match_the_outputs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 outputs but 1 class names"):
        save(trained("reteach_tiny"), tmp_path, "reteach_tiny", classes=["a"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("saved")
    save(trained("reteach_tiny"), folder, "reteach_tiny")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def edited(config: bytes, *path: str, value: Any) -> bytes:
    content = json.loads(config)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    del content["reteach_sha256"]
    return sealed.json_text(content).encode()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c, w: (None, w), "no complete model"),
        (lambda c, w: (c, None), "does not exist"),
        (lambda c, w: (c, w[:-7]), "damaged"),
        (lambda c, w: (c, b""), "damaged"),
        (lambda c, w: (c[:50], w), "damaged"),
        (lambda c, w: (b"\xff\xfe", w), "damaged"),
        (lambda c, w: (b"[]", w), "damaged"),
        (lambda c, w: (b"[" * 100_000, w), "damaged"),
        (lambda c, w: (edited(c, "label_names", value=["a"]), w), "damaged: head.weight is"),
        (lambda c, w: (edited(c, "label_names", value=[]), w), "no classes"),
        (
            lambda c, w: (edited(c, "pretrained_cfg", "std", value=[10**400] * 3), w),
            "damaged or not of a model",
        ),
        (
            lambda c, w: (edited(c, "architecture", value="test_resnet"), w),
            "damaged: the file has no",
        ),
        (lambda c, w: (edited(c, "architecture", value="../x"), w), "unknown model"),
        (lambda c, w: (edited(c, "pretrained_cfg", "mean", value=[0.5]), w), "one mean for each"),
        (lambda c, w: (edited(c, "model_args", value={"pretrained": True}), w), "no option"),
        (lambda c, w: (edited(c, "model_args", value={"checkpoint_path": "/x"}), w), "no option"),
        (lambda c, w: (edited(c, "model_args", value={"depth": 3}), w), "cannot build"),
    ],
)
def test_damaged_folders(edit: Any, message: str, saved: dict[str, bytes], tmp_path: Path) -> None:
    config, tensors = edit(saved["config.json"], saved["model.safetensors"])
    if config is not None:
        (tmp_path / "config.json").write_bytes(config)
    if tensors is not None:
        (tmp_path / "model.safetensors").write_bytes(tensors)
    with pytest.raises(UserError, match=message) as error:
        export.load(tmp_path)
    assert "\n" not in str(error.value)
