"""Networks by name: repeatable, normalised as they want it, and refused in one line."""

from __future__ import annotations

import random
import socket
import urllib.request
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from reteach.errors import UserError
from reteach.models import zoo


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("name", ["reteach_tiny", "test_vit"])
def test_weights_are_a_function_of_the_seed(name: str) -> None:
    first = zoo.create(name, 4, seed=2**62)
    torch.manual_seed(1)
    assert same(first, zoo.create(name, 4, seed=2**62))
    assert not same(first, zoo.create(name, 4, seed=7))
    assert first.training


def test_the_global_random_state_is_left_alone() -> None:
    states = [torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002
    zoo.create("test_vit", 4, seed=3)
    with pytest.raises(UserError):
        zoo.create("vgg11", 4, drop_path_rate=0.5, seed=3)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == [np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002


def test_image_size_reaches_the_architectures_that_need_it() -> None:
    vit = zoo.create("vit_tiny_patch16_224", 3, image_size=48, in_chans=1, depth=1, seed=0)
    assert vit(torch.zeros(1, 1, 48, 48)).shape == (1, 3)
    cnn = zoo.create("reteach_small", 3, image_size=48, seed=0)
    assert cnn(torch.zeros(1, 3, 48, 48)).shape == (1, 3)
    with pytest.raises(UserError, match="multiple of 16 for vit_tiny_patch16_224"):
        zoo.create("vit_tiny_patch16_224", 3, image_size=50, depth=1, seed=0)
    assert zoo.default_image_size("vit_base_patch16_384") == 384
    assert zoo.default_image_size("reteach_tiny") == 16


def test_normalisation() -> None:
    mean, std = zoo.normalisation(timm.create_model("resnet18"))
    assert mean == (0.485, 0.456, 0.406)
    assert std == (0.229, 0.224, 0.225)
    model = zoo.create("resnet18", 2, in_chans=1, seed=0)
    grey = zoo.normalisation(model, 1)
    assert grey == ((pytest.approx(0.449),), (pytest.approx(0.226),))
    assert zoo.normalisation(torch.nn.ReLU(), 2) == ((0.5, 0.5), (0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet-18", "unknown model 'resnet-18'; did you mean resnet18"),
        ("reteach_tinny", "unknown model 'reteach_tinny'; did you mean reteach_tiny"),
        ("resnet18.nothing", "unknown weights 'resnet18.nothing' (published: resnet18.a1_in1k"),
        ("local-dir:/etc", "unknown model 'local-dir:/etc'"),
        ("hf-hub:timm/resnet18", "unknown model 'hf-hub:timm/resnet18'"),
        ("../../resnet18", "unknown model '../../resnet18'"),
        ("", "unknown model ''"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    for call in (lambda: zoo.create(name, 2, seed=0), lambda: zoo.default_image_size(name)):
        with pytest.raises(UserError) as error:
            call()
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


def test_an_option_that_the_architecture_lacks() -> None:
    with pytest.raises(
        UserError, match=r"cannot build 'reteach_tiny' as asked: .*'drop_path_rate'"
    ):
        zoo.create("reteach_tiny", 2, seed=0, drop_path_rate=0.1)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(urllib.request, "getproxies", dict)


@pytest.mark.usefixtures("no_network")
def test_published_weights_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    with pytest.raises(UserError, match=r"'resnet18' cannot be loaded \(no network\)"):
        zoo.create("resnet18", 2, pretrained=True, seed=0)
    with pytest.raises(UserError, match="no published weights of 'reteach_tiny'"):
        zoo.create("reteach_tiny", 2, pretrained=True, seed=0)

    published = zoo.create("test_resnet", 1000, seed=5)
    save_file(published.state_dict(), tmp_path / "cached.safetensors")
    cached = str(tmp_path / "cached.safetensors")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: cached)
    model = zoo.create("test_resnet", 2, pretrained=True, seed=0)
    x = torch.rand(1, 3, 64, 64)
    expected = published.eval().forward_features(x)
    assert torch.equal(model.eval().forward_features(x), expected)


def test_a_download_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("connection reset\nby peer")

    monkeypatch.setattr(zoo, "_hub_is_there", lambda: True)
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(UserError) as error:
        zoo.create("resnet18", 2, pretrained=True, seed=0)
    assert "(connection reset)" in str(error.value)
    assert "\n" not in str(error.value)


def test_starting_from_a_file(tmp_path: Path) -> None:
    source = zoo.create("reteach_tiny", 5, seed=1)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    assert same(source, zoo.create("reteach_tiny", 5, init=tmp_path / "w.safetensors", seed=2))
    with pytest.raises(UserError, match="not from both"):
        zoo.create("resnet18", 2, pretrained=True, init=tmp_path / "w.safetensors", seed=0)
