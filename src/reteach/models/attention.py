"""Attention between sets of tokens, and the two layers that the class heads are made of."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError


@final
class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) of Q tokens to K others.

    Args:
        width: W of all tokens.
        heads: that share the width.
        dropout: of the attention weights.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"{heads} heads do not share a width of {width} evenly")
        self.heads, self.dropout = heads, dropout
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, asking: Tensor, asked: Tensor, values: Tensor | None = None) -> Tensor:
        """(B, Q, W) tokens ask (B, K, W) others for their (B, K, W) values, by default themselves."""
        values = asked if values is None else values
        found = F.scaled_dot_product_attention(
            self._split(self.query(asking)),
            self._split(self.key(asked)),
            self._split(self.value(values)),
            dropout_p=self.dropout if self.training else 0.0,
        )
        out: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out

    def weights(self, asking: Tensor, asked: Tensor) -> Tensor:
        """(B, heads, Q, K) how much each token looks at each other; rows add up to one."""
        q, k = self._split(self.query(asking)), self._split(self.key(asked))
        return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.reshape(*tokens.shape[:-1], self.heads, -1).transpose(1, 2)


@final
class Encoder(nn.Module):
    """Self-attention and a perceptron, normalised before each (as in ViT)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.perceptron = perceptron(width, hidden, dropout, nn.GELU())
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, W) to (B, T, W)."""
        y = self.norm1(x)
        x = x + self.drop(self.attention(y, y))
        out: Tensor = x + self.drop(self.perceptron(self.norm2(x)))
        return out


@final
class Decoder(nn.Module):
    """Self-attention of queries, attention to a memory, a perceptron; normalised after each (DETR)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.among = Attention(width, heads, dropout)
        self.attention = Attention(width, heads, dropout)
        self.perceptron = perceptron(width, hidden, dropout, nn.ReLU())
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, places: Tensor) -> Tensor:
        """Queries (B, Q, W), memory (B, K, W), its position encoding (K, W); gives (B, Q, W)."""
        x = self.norm1(queries + self.drop(self.among(queries, queries)))
        x = self.norm2(x + self.drop(self.attention(x, memory + places, memory)))
        out: Tensor = self.norm3(x + self.drop(self.perceptron(x)))
        return out


@final
class Memory(nn.Module):
    """A layer over image tokens with position encodings in queries and keys; normalised after (DETR)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.perceptron = perceptron(width, hidden, dropout, nn.ReLU())
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """Image tokens (B, K, W) and their position encoding (K, W); gives (B, K, W)."""
        x = self.norm1(x + self.drop(self.attention(x + places, x + places, x)))
        out: Tensor = self.norm2(x + self.drop(self.perceptron(x)))
        return out


def perceptron(width: int, hidden: int, dropout: float, bend: nn.Module) -> nn.Sequential:
    """Two linear layers."""
    return nn.Sequential(
        nn.Linear(width, hidden), bend, nn.Dropout(dropout), nn.Linear(hidden, width)
    )


def places(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """(h · w, channels) sines and cosines of row and column (DETR), whatever the resolution.

    Half of the channels belong to the row and half to the column, both counted from 0 to 2π.
    """
    if channels % 4:
        raise UserError(f"position encodings need a width that 4 divides, got {channels}")
    steps = torch.arange(channels // 4, device=like.device, dtype=torch.float32)
    rates = 10000 ** (-steps / (channels // 4))
    sides = []
    for size in (height, width):
        at = torch.arange(1, size + 1, device=like.device, dtype=torch.float32)
        angle = (at * 2 * math.pi / size)[:, None] * rates
        sides.append(torch.cat([angle.sin(), angle.cos()], 1))
    rows = sides[0][:, None].expand(height, width, -1)
    columns = sides[1][None].expand(height, width, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1).to(like.dtype)
