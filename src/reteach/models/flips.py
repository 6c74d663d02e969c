"""Test-time flips: what a network says of an image and of its mirror image."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn


@final
class Flipped(nn.Module):
    """A network that looks at each image and at its left-right flip: (B, …) -> (B, 2, C), or (B, 2V, C) of a
    network of V views. Predictors average the probabilities over the views."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits of both."""
        both = [self.model(x), self.model(x.flip(-1))]
        return torch.cat([out[:, None] if out.dim() == 2 else out for out in both], 1)
