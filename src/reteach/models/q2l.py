"""Query2Label's head: one query per class asks the feature map whether the class is there.

Liu et al., *Query2Label: A Simple Transformer Way to Multi-Label Classification* (2021). One encoder
layer over the image tokens, two decoder layers in which the class queries attend to each other and to
the image, and a linear output of its own for each class. Position encodings are added to what attention
compares, not to what it hands on. Queries are learned, or made from word vectors as in
:mod:`reteach.models.tokens`.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from .attention import Decoder, Memory, places
from .class_tokens import ClassTokens


@final
class QueryHead(nn.Module):
    """Image features to logits (B, C).

    Args:
        features: F, channels of the feature map.
        num_classes: C.
        vector_size: length of the word vectors; None: learned queries.
        width: of the tokens; by default F, and then without a projection, as published.
        encoders, decoders, heads: of the transformer.
        hidden: of its perceptrons; by default four times the width.
        dropout: within the transformer.
    """

    def __init__(
        self,
        features: int,
        num_classes: int,
        vector_size: int | None = None,
        *,
        width: int | None = None,
        encoders: int = 1,
        decoders: int = 2,
        heads: int = 4,
        hidden: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.project = nn.Identity() if width is None else nn.Linear(features, width)
        width = width or features
        hidden = hidden or 4 * width
        self.classes = ClassTokens(num_classes, width, vector_size)
        self.encoders = nn.ModuleList(
            Memory(width, heads, hidden, dropout) for _ in range(encoders)
        )
        self.decoders = nn.ModuleList(
            Decoder(width, heads, hidden, dropout) for _ in range(decoders)
        )
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(num_classes, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Image tokens (B, h · w, F) of a feature map of ``size`` (h, w) to logits (B, C)."""
        memory = self.project(image)
        where = places(*size, memory.shape[-1], memory)
        for layer in self.encoders:
            memory = layer(memory, where)
        queries = self.classes().expand(len(image), -1, -1)
        for layer in self.decoders:
            queries = layer(queries, memory, where)
        logits: Tensor = (queries * self.weight).sum(-1) + self.bias
        return logits
