"""Losses for labels of which only some positives are known: what is not named is *unknown*, not absent.

The terms that the single-positive methods share (Cole et al. 2021; Zhou et al. 2022), each averaged over
the C classes as in the authors' codes. Their codes add 1e-5 inside every logarithm; here they are computed
from logits and need no such floor.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def named_only(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the named classes alone, -1/C Σ_c y_c log σ_c, per example (B,)."""
    return (targets * F.softplus(-logits.float())).mean(-1)


def entropy(logits: Tensor) -> Tensor:
    """(B, C) binary entropies of σ(logits), in nats."""
    z = logits.float()
    p = z.sigmoid()
    return p * F.softplus(-z) + (1 - p) * F.softplus(z)


def expected_positives(logits: Tensor, expected: float, counted: Tensor) -> Tensor:
    """((mean_b Σ_c σ_bc - k) / C)², a scalar: how far the batch is from k classes per image.

    Args:
        expected: k.
        counted: (B,) weights, 0 for an image that does not count.
    """
    per_image = logits.float().sigmoid().sum(-1)
    mean = (per_image * counted).sum() / counted.sum().clamp_min(1)
    return torch.square((mean - expected) / logits.shape[-1])
