"""ResNet-101-TF's head: class tokens and image tokens in one transformer encoder.

Xu et al. (CPSD, IJCAI 2022), Section 4.1: "a naive Vision Transformer encoder … with visual tokens
extracted from ResNet101. … m class tokens are extracted from GloVe for class predictions, where the
depth, number of multi-heads attention, and hidden dimensions are set to be 3, 4, and 1024".

* *Tokens.* One per position of the last feature map, brought to 1024 by a linear layer, and one per
  class: a linear layer and a ReLU over its word vector, or learned.
* *Positions.* None, as in the authors' code: a feature map of any size will do.
* *Heads.* The four share the width of 1024, as is usual; in the authors' code each has 1024 of its own.
* *Output.* One linear layer for all classes, as in their code, but with a bias per class, so that rare
  classes can start at their prior. The classes have no order: permuting them permutes the logits.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from .attention import Encoder
from .class_tokens import ClassTokens


@final
class TokenHead(nn.Module):
    """Image features to logits (B, C).

    Args:
        features: F, channels of the feature map.
        num_classes: C.
        vector_size: length of the word vectors; None: learned class tokens.
        width, depth, heads: of the encoder; its perceptrons are as wide as the tokens.
        dropout: within the encoder.
    """

    def __init__(
        self,
        features: int,
        num_classes: int,
        vector_size: int | None = None,
        *,
        width: int = 1024,
        depth: int = 3,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(features, width)
        self.classes = ClassTokens(num_classes, width, vector_size)
        self.layers = nn.ModuleList(Encoder(width, heads, width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Image tokens (B, h · w, F) of a feature map of ``size`` (h, w) to logits (B, C)."""
        tokens = self.classes()
        x = torch.cat([tokens.expand(len(image), -1, -1), self.project(image)], 1)
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.score(self.norm(x[:, : len(tokens)])).squeeze(-1) + self.bias
        return logits
