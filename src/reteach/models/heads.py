"""The output layer of a network: what timm asks of it, finding it, and starting its bias."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError


class Headed(nn.Module):
    """timm's conventions for a network that ends in pooling, dropout and one linear layer.

    Who inherits sets ``num_features``, ``head_hidden_size`` and ``drop_rate``, calls
    :meth:`reset_classifier`, and defines ``forward_features`` and :meth:`pooled`.
    """

    classifier: ClassVar[str] = "fc"
    """The name of the output layer."""
    head_hidden_size: int
    drop_rate: float

    def get_classifier(self) -> nn.Module:
        """The output layer."""
        layer: nn.Module = getattr(self, self.classifier)
        return layer

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh output layer; the pooling cannot be changed and ``global_pool`` is ignored."""
        self.num_classes = num_classes
        hidden = self.head_hidden_size
        setattr(
            self,
            self.classifier,
            nn.Linear(hidden, num_classes) if num_classes else nn.Identity(),
        )

    def pooled(self, x: Tensor) -> Tensor:
        """Features to what the output layer sees (B, head_hidden_size)."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Features to logits (B, C), or to what the output layer sees (B, head_hidden_size)."""
        x = F.dropout(self.pooled(x), self.drop_rate, self.training)
        return x if pre_logits else self.get_classifier()(x)

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits (B, C)."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Images to features."""
        raise NotImplementedError


def timm_config(
    size: int,
    first: str,
    classifier: str,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    *,
    classes: int = 1000,
    crop: float = 1.0,
    url: str = "",
) -> dict[str, Any]:
    """What timm is told of a network.

    Args:
        size: side of its input.
        first: its first convolution.
        classifier: its output layer.
        mean, std: of each colour; how its input is normalised.
        classes: C of the weights at ``url``.
        crop: share of the side that evaluation cuts out.
    """
    return {
        "url": url,
        "num_classes": classes,
        "input_size": (3, size, size),
        "pool_size": None,
        "crop_pct": crop,
        "interpolation": "bilinear",
        "mean": mean,
        "std": std,
        "first_conv": first,
        "classifier": classifier,
    }


SMALLEST = 1e-6  # priors are kept within [SMALLEST, 1 - SMALLEST]: a logit of at most ±13.8


def classifier_of(model: nn.Module) -> nn.Linear:
    """The linear layer that gives the C logits.

    It is the one that timm's ``get_classifier`` names, or the last module of a network without it.

    Raises:
        UserError: the network ends in something else (two heads, a convolution, nothing).
    """
    find: Any = getattr(model, "get_classifier", None)
    layer = find() if find is not None else list(model.modules())[-1]
    if not isinstance(layer, nn.Linear):
        raise UserError(
            f"model {_name(model)!r} does not end in one linear layer "
            f"but in {type(layer).__name__}; choose another architecture"
        )
    return layer


@torch.no_grad()
def set_prior_bias(model: nn.Module, prior: NDArray[np.floating]) -> None:
    """Set the output bias to logit(prior), so that a sigmoid head starts near the class frequencies.

    With a bias of zero each of C sigmoids starts at 1/2, and the first steps of training do nothing
    but lower them all. From the code of MILe's authors; the paper does not mention it.

    Args:
        prior: (C,) P(class is present); values at or near 0 and 1 are clipped.

    Raises:
        UserError: the network does not end in a linear layer with a bias.
        ValueError: ``prior`` has another shape or holds no probabilities.
    """
    layer = classifier_of(model)
    if layer.bias is None:
        raise UserError(f"--prior-bias: the output layer of model {_name(model)!r} has no bias")
    p = np.asarray(prior, dtype=np.float64)
    if p.shape != (layer.out_features,):
        raise ValueError(f"prior must have shape ({layer.out_features},), got {p.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("prior must hold probabilities")
    p = p.clip(SMALLEST, 1 - SMALLEST)
    layer.bias.copy_(torch.from_numpy(np.log(p) - np.log1p(-p)))


def _name(model: nn.Module) -> str:
    config = getattr(model, "pretrained_cfg", None) or {}
    return str(config.get("architecture") or type(model).__name__)
