"""What the output layer of a network sees: its pooled features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError


def pooled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Images (B, channels, H, W) -> features (B, D) float32, in evaluation mode and without gradient.

    Raises:
        UserError: the network cannot be asked for its features as timm's can.
    """
    if not (hasattr(model, "forward_features") and hasattr(model, "forward_head")):
        raise UserError(f"a {type(model).__name__} has no features that could be looked at")
    network: Any = model.eval()

    @torch.no_grad()
    def of(x: Tensor) -> Tensor:
        found: Tensor = network.forward_head(network.forward_features(x), pre_logits=True)
        return found.float().flatten(1)

    return of
