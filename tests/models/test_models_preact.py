"""PreActResNet-18: its size, its shapes, and a forward pass written out."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from reteach.models import export, zoo


def test_it_is_the_network_of_the_cifar_tables():
    model = zoo.create("preact_resnet18", 10, seed=0)
    assert 11.1e6 < sum(p.numel() for p in model.parameters()) < 11.25e6
    x = torch.zeros(2, 3, 32, 32)
    features = model.eval().forward_features(x)
    assert features.shape == (2, 512, 4, 4)
    assert model.forward_head(features, pre_logits=True).shape == (2, 512)
    assert zoo.normalisation(model)[0] == (0.4914, 0.4822, 0.4465)


def test_forward_is_what_it_says():
    model = zoo.create("preact_resnet18", 4, in_chans=1, seed=0).eval()
    x = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        h = model.conv1(x)
        for number, stage in enumerate(model.stages):
            for position, block in enumerate(stage):
                stride = 2 if number and position == 0 else 1
                pre = F.relu(block.bn1(h))
                inner = F.conv2d(pre, block.conv1.weight, stride=stride, padding=1)
                inner = F.conv2d(F.relu(block.bn2(inner)), block.conv2.weight, padding=1)
                if number and position == 0:
                    h = F.conv2d(pre, block.shortcut.weight, stride=stride)
                h = inner + h
        expected = model.fc(F.relu(model.norm(h)).mean((2, 3)))
        assert torch.allclose(model(x), expected, atol=1e-5)


def test_it_is_kept_and_comes_back(tmp_path):
    model = zoo.create("preact_resnet18", 3, seed=1)
    export.save(
        model,
        tmp_path / "m",
        architecture="preact_resnet18",
        num_classes=3,
        in_chans=3,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        classes=("a", "b", "c"),
        image_size=None,
        model_args={},
        extra={},
    )
    again, _ = export.load(tmp_path / "m")
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(model.eval()(x), again.eval()(x))
