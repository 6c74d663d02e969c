"""Every backend gives the features of the network as it stands, and the fastest that does is taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reteach.errors import UserError
from reteach.models import forward as module
from reteach.models import zoo
from reteach.models.features import pooled
from reteach.models.forward import folded, forward


def network(name: str) -> nn.Module:
    """With statistics of normalisation that are no identity."""
    model = zoo.create(name, 3, image_size=64, seed=1)
    x = torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 + 1
    with torch.no_grad():
        model.train()
        for _ in range(3):
            model(x)
    return model.eval()


@pytest.mark.parametrize("backend", ["folded", "openvino", "onnx"])
@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "reteach_tiny", "test_vit"])
def test_same_features_to_a_thousandth(name, backend):
    if backend != "folded":
        needed(backend)
    model = network(name)
    size = 160 if name == "test_vit" else 64
    if name == "test_vit":
        model = zoo.create(name, 3, seed=1).eval()
    of = forward(model, (3, size, size), backend)
    assert of.backend == backend
    for count in (1, 5):
        x = torch.randn(count, 3, size, size)
        expected, found = pooled(model)(x), of(x)
        assert found.shape == expected.shape
        assert float((found - expected).abs().max()) <= 1e-3 * float(expected.abs().max())


def test_normalisation_is_folded_into_its_convolution_and_the_network_stays():
    model = network("test_efficientnet")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    flat = folded(model, torch.zeros(1, 3, 64, 64))
    assert not [m for m in flat.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Shared(nn.Module):
    """A network whose convolution is used beside its normalisation too, and one that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.norm.running_mean = torch.full((4,), 3.0)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.norm(y) * y

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return x.mean((2, 3))


def test_a_backend_that_gives_other_features_is_passed_over(monkeypatch):
    monkeypatch.setattr(module, "FASTEST_FIRST", ("folded", "eager"))
    model = Shared().eval()
    assert forward(model, (3, 16, 16)).backend == "eager"
    with pytest.raises(UserError, match="--backend folded gives other features"):
        forward(model, (3, 16, 16), "folded")


NEEDS = {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnx")}


def needed(backend: str) -> None:
    """Skip without what a backend needs."""
    for package in NEEDS[backend]:
        pytest.importorskip(package, reason=f"{package} is not installed")


@pytest.mark.parametrize("backend", NEEDS)
def test_without_a_backend_the_extra_is_named_or_the_next_is_taken(monkeypatch, backend):
    for package in ("openvino", "onnxruntime"):
        monkeypatch.setitem(__import__("sys").modules, package, None)
    model = network("test_resnet")
    assert forward(model, (3, 64, 64)).backend == "folded"
    with pytest.raises(UserError, match=rf"pip install 'reteach\[{backend}\]'"):
        forward(model, (3, 64, 64), backend)


@pytest.mark.parametrize("backend", NEEDS)
def test_compiling_for_a_few_images_is_not_worth_its_time(monkeypatch, backend):
    needed(backend)
    monkeypatch.setattr(module, "FASTEST_FIRST", (backend, "folded", "eager"))
    model = network("test_resnet")
    assert (
        forward(model, (3, 64, 64), images=module.WORTH_COMPILING[backend] - 1).backend == "folded"
    )
    assert forward(model, (3, 64, 64), images=module.WORTH_COMPILING[backend]).backend == backend
