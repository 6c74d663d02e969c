"""R(2+1)D networks for videos, out of torchvision's blocks; importing this registers them with timm.

Tran et al. (2018), "A closer look at spatiotemporal convolutions for action recognition", which Yalniz et
al. (2019) use in Section 5.1: each 3D convolution is one over space and one over time. torchvision has 18
layers; 34 are the same blocks, 3, 4, 6 and 3 of them. The weights are named as in torchvision, so that its
files fit (``--init r2plus1d_18-91a641e6.pth``).
"""

from __future__ import annotations

from typing import Any, final

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torchvision.models.video import resnet

from ..errors import UserError
from ..recorded import recorded
from .heads import Headed, timm_config

__all__ = ["CLIP_FRAMES", "R2Plus1d", "SmallVideoNet", "VideoNet"]


class VideoNet(Headed):
    """Videos (B, 3, V · L, H, W) to logits: (B, C) of one clip, (B, V, C) of several.

    A subclass sets ``avgpool`` and its own layers, calls ``_finish`` and defines ``trunk``.
    """

    avgpool: nn.Module

    def _finish(
        self, width: int, frames: int, num_classes: int, in_chans: int, drop_rate: float
    ) -> None:
        """The output layer, and what there is to know.

        Args:
            width: channels of the features.
            frames: L, the length of a clip.
            num_classes: C; 0 for features only.
            in_chans: channels of the input, which must be 3.
            drop_rate: of the dropout before the output layer.
        """
        if in_chans != 3:
            raise UserError(f"this network takes colours (3 channels), not {in_chans}")
        self.frames = frames
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = width
        self.reset_classifier(num_classes)

    def trunk(self, clip: Tensor) -> Tensor:
        """One clip (B, 3, L, H, W) to its features (B, num_features, l, h, w)."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """Videos (B, 3, V · L, H, W) to features (B, num_features, V · l, h, w)."""
        return torch.cat([self.trunk(clip) for clip in self._clips(x)], 2)

    def pooled(self, x: Tensor) -> Tensor:
        """The mean over all places and times."""
        mean: Tensor = self.avgpool(x)
        return mean.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        # one clip after the other: ten together would take ten times the memory
        logits = [self.forward_head(self.trunk(clip)) for clip in self._clips(x)]
        return logits[0] if len(logits) == 1 else torch.stack(logits, 1)

    def _clips(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.dim() != 5 or x.shape[2] % self.frames:
            raise ValueError(f"need (B, 3, n · {self.frames}, H, W), got {tuple(x.shape)}")
        return torch.split(x, self.frames, 2)


CLIP_FRAMES = {"r2plus1d_18": 8, "r2plus1d_34": 8, "reteach_video": 4}
"""The networks that take videos, and the frames of the clips that they are meant for."""

_TRUNK = ("stem", "layer1", "layer2", "layer3", "layer4")


@final
@recorded("r2plus1d")
class R2Plus1d(VideoNet):
    """R(2+1)D with so many ``blocks`` in each of its four stages."""

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        frames: int = 8,
        num_classes: int = 400,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        made = resnet.VideoResNet(
            resnet.BasicBlock, [resnet.Conv2Plus1D] * 4, list(blocks), resnet.R2Plus1dStem
        )
        for name in (*_TRUNK, "avgpool"):
            self.add_module(name, getattr(made, name))
        self._finish(made.fc.in_features, frames, num_classes, in_chans, drop_rate)

    def trunk(self, clip: Tensor) -> Tensor:
        for name in _TRUNK:
            clip = self.get_submodule(name)(clip)
        return clip


@final
@recorded("small-video-net")
class SmallVideoNet(VideoNet):
    """Three convolutions over space and time, 60 thousand weights: for small videos, and tests."""

    def __init__(
        self,
        frames: int = 4,
        num_classes: int = 400,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in ((3, 16), (16, 32), (32, 64)):
            layers += [
                resnet.Conv2Plus1D(before, width, width, 2, 1),
                nn.BatchNorm3d(width),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self._finish(64, frames, num_classes, in_chans, drop_rate)

    def trunk(self, clip: Tensor) -> Tensor:
        features: Tensor = self.layers(clip)
        return features


def _cfg(size: int, first: str, url: str = "") -> dict[str, Any]:
    mean, std = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    return timm_config(size, first, "fc", mean, std, classes=400, crop=0.875, url=url)


_KINETICS = "https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth"
default_cfgs = generate_default_cfgs(
    {
        "r2plus1d_18": _cfg(112, "stem.0", _KINETICS),
        "r2plus1d_34": _cfg(112, "stem.0"),
        "reteach_video": _cfg(32, "layers.0.0"),
    }
)


@register_model
def r2plus1d_18(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Two blocks per stage, 31 million weights: torchvision's."""
    return _build(R2Plus1d, "r2plus1d_18", pretrained, blocks=(2, 2, 2, 2), **kwargs)


@register_model
def r2plus1d_34(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """3, 4, 6 and 3 blocks, 64 million weights."""
    return _build(R2Plus1d, "r2plus1d_34", pretrained, blocks=(3, 4, 6, 3), **kwargs)


@register_model
def reteach_video(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Three convolutions for videos of 32 pixels and clips of 4 frames."""
    return _build(SmallVideoNet, "reteach_video", pretrained, **kwargs)


def _build(kind: type[VideoNet], name: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    model: nn.Module = build_model_with_cfg(kind, name, pretrained, **kwargs)
    return model
