"""SimCLR-v2's ResNets with selective kernels (``sk1``), which timm lacks; importing this registers them.

Chen et al. 2020, "Big self-supervised models are strong semi-supervised learners", after Li et al. 2019.
Each 3 × 3 convolution has twice the channels, which are two answers; a small network on the mean of their sum
says, channel by channel, how much of each passes. timm's ``skresnet50`` is another network: its two answers
see half of the input each, one of them dilated, its stem is one 7 × 7 convolution, and its shortcuts stride.

This one is as its conversion to PyTorch (Separius/SimCLRv2-Pytorch): a stem of three 3 × 3 convolutions;
shortcuts that average 2 × 2 places, with a border of zeros below and to the right; no dilation, both answers
3 × 3. ``resnet50_sk1`` is r50_1x_sk1, ``resnet50x2_sk1`` twice as wide (the teacher of MILe's Table 4).
Pixels are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from ..recorded import recorded
from .heads import Headed, timm_config

__all__ = ["SelectiveResNet"]

LEAST = 32
"""Least width of the layer that weighs the two answers; else a sixteenth of the channels."""


def conv(width: int, out: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size but for its stride."""
    return nn.Conv2d(width, out, size, stride, (size - 1) // 2, bias=False)


@final
class SelectiveConv(nn.Module):
    """A 3 × 3 convolution that gives two answers, weighed channel by channel.

    Args:
        width: channels in and out.
        stride: of the convolution.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        middle = max(width // 16, LEAST)
        self.conv, self.bn = conv(width, 2 * width, 3, stride), nn.BatchNorm2d(2 * width)
        self.reduce, self.reduce_bn = conv(width, middle, 1), nn.BatchNorm2d(middle)
        self.select = conv(middle, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to (B, width, H / stride, W / stride)."""
        answers = torch.stack(F.relu(self.bn(self.conv(x))).chunk(2, 1))
        mean = answers.sum(0).mean((2, 3), keepdim=True)
        scores = self.select(F.relu(self.reduce_bn(self.reduce(mean))))
        found: Tensor = (answers * torch.stack(scores.chunk(2, 1)).softmax(0)).sum(0)
        return found


@final
class SelectiveBlock(nn.Module):
    """1 × 1, selective 3 × 3 and 1 × 1 convolutions beside a shortcut.

    Args:
        inside: channels of the input.
        width: of the 3 × 3 convolution; four times as many come out.
        stride: of the block.
        first: of its stage: the shortcut is a projection.
    """

    def __init__(self, inside: int, width: int, stride: int, first: bool) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut = conv(inside, 4 * width, 1) if first else None
        self.shortcut_bn = nn.BatchNorm2d(4 * width) if first else None
        self.conv1, self.bn1 = conv(inside, width, 1), nn.BatchNorm2d(width)
        self.conv2 = SelectiveConv(width, stride)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) to (B, 4 width, H / stride, W / stride)."""
        beside = x
        if self.shortcut is not None and self.shortcut_bn is not None:
            means = F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2, self.stride)
            beside = self.shortcut_bn(self.shortcut(means))
        x = self.conv2(F.relu(self.bn1(self.conv1(x))))
        return F.relu(beside + self.bn3(self.conv3(x)))


@final
@recorded("selective-resnet")
class SelectiveResNet(Headed):
    """SimCLR-v2's network.

    Args:
        depths: blocks per stage.
        widen: 1 or more: multiplies all widths.
        num_classes: C; 0 for features only.
        in_chans: channels of the input.
        drop_rate: of the dropout before the output layer.
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 6, 3),
        widen: int = 1,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        half = 32 * widen
        layers: list[nn.Module] = []
        for width, out, stride in ((in_chans, half, 2), (half, half, 1), (half, 2 * half, 1)):
            layers += [conv(width, out, 3, stride), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*layers)
        stages, inside = [], 2 * half
        for number, depth in enumerate(depths):
            width, blocks = 64 * widen * 2**number, []
            for block in range(depth):
                stride = 2 if number and not block else 1
                blocks.append(SelectiveBlock(inside, width, stride, not block))
                inside = 4 * width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.num_features = self.head_hidden_size = inside
        self.drop_rate = drop_rate
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to features (B, num_features, H / 32, W / 32)."""
        features: Tensor = self.stages(F.max_pool2d(self.stem(x), 3, 2, 1))
        return features

    def pooled(self, x: Tensor) -> Tensor:
        """The mean over all places."""
        return x.mean((2, 3))


_CONFIG = timm_config(224, "stem.0", "fc", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
default_cfgs = generate_default_cfgs({"resnet50_sk1": _CONFIG, "resnet50x2_sk1": _CONFIG})


@register_model
def resnet50_sk1(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SimCLR-v2's ResNet-50 with selective kernels."""
    return _built("resnet50_sk1", pretrained, widen=1, **kwargs)


@register_model
def resnet50x2_sk1(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SimCLR-v2's ResNet-50 of twice the width with selective kernels."""
    return _built("resnet50x2_sk1", pretrained, widen=2, **kwargs)


def _built(name: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    model: nn.Module = build_model_with_cfg(SelectiveResNet, name, pretrained, **kwargs)
    return model
