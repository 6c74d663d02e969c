"""Small convolutional networks for small images, which timm lacks; importing this registers them.

``reteach_tiny`` is for 8-32 pixels, ``reteach_mid`` and ``reteach_mean`` for 32, ``reteach_small`` and
``reteach_max`` for 28-96. They differ in what their last layer sees. Tiny and max take the strongest
response of each feature anywhere (global max pooling): whether a thing is *there* is all that their
pictures are asked. Mid and small keep a coarse grid of averages, because a label often depends on where a
thing stands. A single global average did worst there: it learns so slowly that short generations of MILe
collapse to "every class present". For the same reason it memorises wrong labels slowly; ``reteach_mean``,
the mid one under a global average, is for studying label noise.
"""

from __future__ import annotations

from typing import Any, final

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from ..recorded import recorded
from .heads import Headed, timm_config

__all__ = ["SmallNet"]


@final
@recorded("small-net")
class SmallNet(Headed):
    """Convolutions with batch normalisation, pooling to a few cells, a linear layer.

    Args:
        stages: (width, stride, kernel size) of each convolution.
        pool: to ``grid`` × ``grid`` cells, which the linear layer sees.
        num_classes: C; 0 for features only.
        in_chans: channels of the input.
        drop_rate: of the dropout before the linear layer.
    """

    classifier = "head"

    def __init__(
        self,
        stages: tuple[tuple[int, int, int], ...],
        pool: nn.Module,
        grid: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = in_chans
        for width, stride, kernel in stages:
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                )
            )
            channels = width
        self.stages = nn.Sequential(*blocks)
        self.pool = pool
        self.num_features = channels
        self.head_hidden_size = channels * grid * grid
        self.drop_rate = drop_rate
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to features (B, num_features, h, w)."""
        features: Tensor = self.stages(x)
        return features

    def pooled(self, x: Tensor) -> Tensor:
        """The cells, side by side."""
        cells: Tensor = self.pool(x)
        return cells.flatten(1)


def _cfg(size: int) -> dict[str, Any]:
    return timm_config(size, "stages.0.0", "head", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


default_cfgs = generate_default_cfgs(
    {
        "reteach_tiny": _cfg(16),
        "reteach_mid": _cfg(32),
        "reteach_mean": _cfg(32),
        "reteach_small": _cfg(64),
        "reteach_max": _cfg(64),
    }
)


@register_model
def reteach_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Three convolutions at a quarter of the resolution, 24 thousand weights: for 8 to 32 pixels."""
    stages = ((16, 2, 3), (32, 2, 3), (64, 1, 3))
    return _build("reteach_tiny", stages, nn.AdaptiveMaxPool2d(1), 1, pretrained, kwargs)


@register_model
def reteach_mid(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Three wider convolutions, about 100,000 weights: for colour images of 32 pixels."""
    stages = ((32, 2, 5), (64, 2, 3), (128, 2, 3))
    return _build("reteach_mid", stages, nn.AdaptiveAvgPool2d(2), 2, pretrained, kwargs)


@register_model
def reteach_mean(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The convolutions of ``reteach_mid`` under one global average, about 95,000 weights."""
    stages = ((32, 2, 5), (64, 2, 3), (128, 2, 3))
    return _build("reteach_mean", stages, nn.AdaptiveAvgPool2d(1), 1, pretrained, kwargs)


@register_model
def reteach_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Four convolutions from a third of the resolution on, about 67,000 weights: for 28 to 96 pixels."""
    stages = ((16, 3, 5), (32, 2, 3), (64, 2, 3), (64, 1, 3))
    return _build("reteach_small", stages, nn.AdaptiveAvgPool2d(3), 3, pretrained, kwargs)


@register_model
def reteach_max(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Four convolutions under one global maximum, each of 35 pixels: for things anywhere in 28 to 96."""
    stages = ((16, 3, 5), (32, 2, 3), (64, 1, 3), (64, 1, 3))
    return _build("reteach_max", stages, nn.AdaptiveMaxPool2d(1), 1, pretrained, kwargs)


def _build(
    name: str,
    stages: tuple[tuple[int, int, int], ...],
    pool: nn.Module,
    grid: int,
    pretrained: bool,
    kwargs: dict[str, Any],
) -> nn.Module:
    model: nn.Module = build_model_with_cfg(
        SmallNet, name, pretrained, stages=stages, pool=pool, grid=grid, **kwargs
    )
    return model
