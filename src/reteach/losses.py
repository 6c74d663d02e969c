"""Losses: (logits (B, C), targets (B, C)) -> loss per example (B,).

Targets are dense weights: one-hot, multi-hot or soft (see ``LabelSet.dense``). Everything is computed
from logits in a numerically stable form; the mean over the batch is the caller's (``Batch.mean``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


def softmax_xent(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy, -Σ_c y_c log p_c. A row of zeros (no label) gives 0."""
    return -(targets * logits.float().log_softmax(-1)).sum(-1)


def sigmoid_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy averaged over the classes (MILe, Eq. 1)."""
    return F.binary_cross_entropy_with_logits(
        logits.float(), targets.float(), reduction="none"
    ).mean(-1)


def sigmoid_bce_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy summed over the classes: C times Eq. 1, as in the authors' code.

    The same minimum with C times the step size; it suits the rates that are customary for softmax.
    """
    return sigmoid_bce(logits, targets) * logits.shape[-1]


def soft_xent(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Soft distillation, τ² KL(softmax(t/τ) ‖ softmax(s/τ)) (Hinton et al. 2015)."""
    teacher = (teacher_logits.float() / temperature).log_softmax(-1)
    student = (logits.float() / temperature).log_softmax(-1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(-1)


def smooth(targets: Tensor, amount: float) -> Tensor:
    """Label smoothing: (1 - ε) y + ε s / C, where s = Σ y, so that rows keep their sum.

    A one-hot row becomes the customary (1 - ε) y + ε / C; a row without a label stays zero.
    """
    if amount == 0:
        return targets
    spread = targets.sum(-1, keepdim=True) / targets.shape[-1]
    return torch.lerp(targets, spread.expand_as(targets), amount)
