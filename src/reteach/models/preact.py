"""PreActResNet-18 in its CIFAR forms, which timm lacks; importing this registers them as timm models.

He et al. 2016, "Identity mappings in deep residual networks": normalisation and activation come before
each convolution. Both forms begin with one 3 × 3 convolution at full resolution and no pooling, have plain
1 × 1 convolutions where a block changes shape, which take the block's pre-activation, and pool what the
last stage gives directly: without the normalisation and activation that He et al. have there. 11.2 million
weights.

* ``preact_resnet18``, of NCT's published code: the identity carries the block's input untouched.
* ``preact_resnet18_arazo``, of Arazo et al. 2019, whose setting NCT says it follows: normalisation and
  activation after the first convolution too, and every shortcut carries the block's pre-activation.
"""

from __future__ import annotations

from typing import Any, final

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from ..recorded import recorded
from .heads import Headed, timm_config

__all__ = ["PreActResNet"]


@final
class PreActBlock(nn.Module):
    """Two 3 × 3 convolutions, each after normalisation and activation, beside a shortcut.

    Args:
        width: channels of the input.
        out: channels of the output.
        stride: of the first convolution and the shortcut.
        activated: the identity carries the pre-activation instead of the input.
    """

    def __init__(self, width: int, out: int, stride: int, activated: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        same = stride == 1 and width == out
        self.shortcut = None if same else nn.Conv2d(width, out, 1, stride, bias=False)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to (B, out, H / stride, W / stride)."""
        active = F.relu(self.bn1(x))
        beside = active if self.activated else x
        if self.shortcut is not None:
            beside = self.shortcut(active)
        found: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active)))) + beside
        return found


@final
@recorded("preact-resnet")
class PreActResNet(Headed):
    """Four stages of pre-activation blocks; the first keeps the resolution, the others halve it.

    Args:
        depths: blocks per stage.
        width: channels of the first stage, doubled in each later one.
        activated: Arazo's form: the first convolution is normalised and activated, and so is what the
            identities carry.
        num_classes: C; 0 for features only.
        in_chans: channels of the input.
        drop_rate: of the dropout before the output layer.
    """

    def __init__(
        self,
        depths: tuple[int, ...] = (2, 2, 2, 2),
        width: int = 64,
        activated: bool = False,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width) if activated else None
        stages: list[nn.Module] = []
        channels = width
        for number, depth in enumerate(depths):
            out = width * 2**number
            blocks = []
            for block in range(depth):
                stride = 2 if number and not block else 1
                blocks.append(PreActBlock(channels, out, stride, activated))
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.num_features = self.head_hidden_size = channels
        self.drop_rate = drop_rate
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to features (B, num_features, H / 8, W / 8)."""
        x = self.conv1(x)
        if self.bn1 is not None:
            x = F.relu(self.bn1(x))
        features: Tensor = self.stages(x)
        return features

    def pooled(self, x: Tensor) -> Tensor:
        """The mean over all places."""
        return x.mean((2, 3))


_CONFIG = timm_config(32, "conv1", "fc", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
default_cfgs = generate_default_cfgs({"preact_resnet18": _CONFIG, "preact_resnet18_arazo": _CONFIG})


@register_model
def preact_resnet18(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """PreActResNet-18 for 32 × 32 pixels, as in NCT's code."""
    return _built("preact_resnet18", pretrained, activated=False, **kwargs)


@register_model
def preact_resnet18_arazo(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """PreActResNet-18 for 32 × 32 pixels, as in the code of Arazo et al. 2019."""
    return _built("preact_resnet18_arazo", pretrained, activated=True, **kwargs)


def _built(name: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    model: nn.Module = build_model_with_cfg(PreActResNet, name, pretrained, **kwargs)
    return model
