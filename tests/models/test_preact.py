"""PreActResNet-18, NCT's and Arazo's: size, shapes, and each beside a second, literal network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reteach.errors import UserError
from reteach.models import export, zoo

NAMES = ("preact_resnet18", "preact_resnet18_arazo")


class LiteralBlock(nn.Module):
    """BN, ReLU, conv, BN, ReLU, conv; the shortcut as the two published codes have it."""

    def __init__(self, width: int, out: int, stride: int, arazo: bool) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(out)
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.arazo, self.shape = arazo, stride != 1 or width != out
        if self.shape:
            self.shortcut = nn.Conv2d(width, out, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.bn1(x))
        if self.shape:
            short = self.shortcut(out)
        elif self.arazo:
            short = out  # an empty nn.Sequential of the activated tensor
        else:
            short = x
        out = self.conv1(out)
        return self.conv2(torch.relu(self.bn2(out))) + short


class Literal(nn.Module):
    """Four stages of two blocks, then the mean of 4 × 4 places and a linear layer: nothing between."""

    def __init__(self, classes: int, channels: int, arazo: bool) -> None:
        super().__init__()
        self.arazo = arazo
        self.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        if arazo:
            self.bn1 = nn.BatchNorm2d(64)
        widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        self.stages = nn.Sequential(
            *(
                nn.Sequential(LiteralBlock(a, b, s, arazo), LiteralBlock(b, b, 1, arazo))
                for a, b, s in widths
            )
        )
        self.fc = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv1(x)
        if self.arazo:
            out = torch.relu(self.bn1(out))
        out = self.stages(out)
        return self.fc(F.avg_pool2d(out, 4).flatten(1))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_published_network(name):
    """The same weights by name, and the same outputs, in training and at rest."""
    ours = zoo.create(name, 4, in_chans=1, seed=0)
    second = Literal(4, 1, arazo=name.endswith("arazo"))
    generator = torch.Generator().manual_seed(1)
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.bias.data.normal_(generator=generator)
    second.load_state_dict(ours.state_dict())  # strict
    x = torch.rand(2, 1, 32, 32, generator=generator)
    with torch.no_grad():
        for mode in (False, True):
            assert torch.allclose(ours.train(mode)(x), second.train(mode)(x), atol=1e-4, rtol=1e-4)


def test_the_two_are_different_networks():
    x = torch.rand(1, 3, 32, 32)
    one, two = (zoo.create(name, 10, seed=0).eval() for name in NAMES)
    assert one.state_dict().keys() < two.state_dict().keys()
    two.load_state_dict(one.state_dict(), strict=False)
    assert not torch.allclose(one(x), two(x), atol=1e-3)
    assert not any("norm" in key for key in one.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_of_the_size_of_the_cifar_tables(name):
    model = zoo.create(name, 10, seed=0)
    assert 11.1e6 < sum(p.numel() for p in model.parameters()) < 11.25e6
    features = model.eval().forward_features(torch.zeros(2, 3, 32, 32))
    assert features.shape == (2, 512, 4, 4)
    assert model.forward_head(features, pre_logits=True).shape == (2, 512)
    assert zoo.normalisation(model)[0] == (0.4914, 0.4822, 0.4465)


def saved(model: nn.Module, folder: Any, name: str) -> Any:
    export.save(
        model,
        folder,
        architecture=name,
        num_classes=3,
        in_chans=3,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        classes=("a", "b", "c"),
        image_size=None,
        model_args={},
        extra={},
    )
    return folder


def test_it_is_kept_and_comes_back(tmp_path):
    model = zoo.create(NAMES[1], 3, seed=1)
    again, _ = export.load(saved(model, tmp_path / "m", NAMES[1]))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(model.eval()(x), again.eval()(x))


def test_weights_of_the_earlier_network_are_refused(tmp_path):
    """It normalised before the pooling, under the name that is NCT's now."""
    model = zoo.create(NAMES[0], 3, seed=1)
    model.norm = nn.BatchNorm2d(512)
    with pytest.raises(UserError, match="norm"):
        export.load(saved(model, tmp_path / "m", NAMES[0]))
