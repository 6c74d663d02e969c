"""Networks on features that another network computed before; importing this registers them with timm.

``linear`` is logistic regression and its kin: features, standardised, and one linear layer. ``mlp`` has a
hidden layer in between. A feature vector reaches them as a picture of one pixel with D channels.
"""

from __future__ import annotations

from typing import Any, final

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from ..recorded import recorded
from .heads import Headed, timm_config

__all__ = ["FeatureNet"]

NAMES = frozenset({"linear", "mlp"})
"""Architectures that take features; all others take pixels."""
LENGTH = 4.0
"""Typical length of a standardised feature vector, whatever D: so one learning rate suits all backbones."""


@final
@recorded("feature-net")
class FeatureNet(Headed):
    """Standardised features, perhaps a hidden layer, a linear layer.

    Each feature is standardised by its running mean and deviation over the training batches; nothing is
    learned there.

    Args:
        hidden: width of the hidden layer; 0: none.
        num_classes: C; 0 for features only.
        in_chans: D.
        drop_rate: of the dropout before the linear layer.
    """

    def __init__(
        self, hidden: int, num_classes: int = 1000, in_chans: int = 1280, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_chans, affine=False)
        self.scale = LENGTH * in_chans**-0.5
        layers = [nn.Linear(in_chans, hidden), nn.ReLU(inplace=True)] if hidden else []
        self.hidden = nn.Sequential(*layers)
        self.num_features = self.head_hidden_size = hidden or in_chans
        self.drop_rate = drop_rate
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Features (B, D, 1, 1) to (B, num_features)."""
        found: Tensor = self.hidden(self.norm(x.flatten(1)) * self.scale)
        return found

    def pooled(self, x: Tensor) -> Tensor:
        """As they are."""
        return x

    @torch.no_grad()
    def as_linear(self) -> tuple[Tensor, Tensor]:
        """(C, D) and (C,): the one linear layer on raw features that this network is in evaluation.

        Raises:
            ValueError: it has a hidden layer.
        """
        if len(self.hidden):
            raise ValueError("a network with a hidden layer is not linear")
        layer = self.get_classifier()
        assert isinstance(layer, nn.Linear)
        mean, var = self.norm.running_mean, self.norm.running_var
        assert mean is not None
        assert var is not None
        weight = layer.weight.double() * self.scale / (var.double() + self.norm.eps).sqrt()
        return weight.float(), (layer.bias.double() - weight @ mean.double()).float()


_CONFIG = timm_config(1, "norm", "fc", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
default_cfgs = generate_default_cfgs(dict.fromkeys(sorted(NAMES), _CONFIG))


@register_model
def linear(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """One linear layer on standardised features."""
    return _built("linear", pretrained, hidden=0, **kwargs)


@register_model
def mlp(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A hidden layer of 512 on standardised features."""
    return _built("mlp", pretrained, hidden=512, **kwargs)


def _built(name: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    model: nn.Module = build_model_with_cfg(FeatureNet, name, pretrained, **kwargs)
    return model
