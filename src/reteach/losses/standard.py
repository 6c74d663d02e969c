"""Losses: (logits (B, C), targets (B, C)[, known (B, C)]) -> loss per example (B,).

Targets are dense weights: one-hot, multi-hot or soft (see ``LabelSet.dense``). Everything is computed
from logits in a numerically stable form; the mean over the batch is the caller's (``Batch.mean``).
Losses per class take a third argument: entries that are not ``known`` add nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..recorded import recorded

Loss = Callable[..., Tensor]


@recorded("softmax-xent")
def softmax_xent(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross-entropy, -Σ_c y_c log p_c. A row of zeros (no label) gives 0."""
    return -(targets * logits.float().log_softmax(-1)).sum(-1)


@recorded("sigmoid-bce")
def sigmoid_bce(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Binary cross-entropy averaged over the classes (MILe, Eq. 1).

    The mean is over all C, so that what is known weighs the same however much of it there is.
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="none")
    return (loss if known is None else loss * known).mean(-1)


@recorded("sigmoid-bce-sum")
def sigmoid_bce_sum(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Binary cross-entropy summed over the classes: C times Eq. 1, as in the authors' code.

    The same minimum with C times the step size; it suits the rates that are customary for softmax.
    """
    return sigmoid_bce(logits, targets, known) * logits.shape[-1]


@recorded("squared-error")
def squared_error(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Σ_c (s_c - t_c)² between the logits of a student and of its teachers (CPSD, Eq. 6)."""
    return (logits.float() - teacher_logits.float()).square().sum(-1)


@recorded("mean-squared-error")
def mean_squared_error(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """The square averaged over the classes: neither CPSD's paper nor its code. Returns (B,)."""
    return squared_error(logits, teacher_logits) / logits.shape[-1]


@recorded("bernoulli-kl")
def bernoulli_kl(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """τ² Σ_c KL(σ(t_c/τ) ‖ σ(s_c/τ)): soft distillation where each class is present or not."""
    teacher, student = teacher_logits.float() / temperature, logits.float() / temperature
    p = teacher.sigmoid()
    # log σ(t) - log σ(s), and the same for 1 - σ, from the logits
    there = F.logsigmoid(teacher) - F.logsigmoid(student)
    absent = F.logsigmoid(-teacher) - F.logsigmoid(-student)
    return temperature**2 * (p * there + (1 - p) * absent).sum(-1)


@recorded("soft-xent")
def soft_xent(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Soft distillation, τ² KL(softmax(t/τ) ‖ softmax(s/τ)) (Hinton et al. 2015)."""
    teacher = (teacher_logits.float() / temperature).log_softmax(-1)
    student = (logits.float() / temperature).log_softmax(-1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(-1)


def kl_from_uniform(logits: Tensor) -> Tensor:
    """KL(uniform ‖ mean prediction of a batch (B, C)): how far it is from all classes equally often."""
    mean = logits.float().softmax(-1).mean(0)
    return -(mean * mean.shape[0]).log().mean()


def smooth(targets: Tensor, amount: float) -> Tensor:
    """Label smoothing: (1 - ε) y + ε s / C, where s = Σ y, so that rows keep their sum.

    A one-hot row becomes the customary (1 - ε) y + ε / C; a row without a label stays zero.
    """
    if amount == 0:
        return targets
    spread = targets.sum(-1, keepdim=True) / targets.shape[-1]
    return torch.lerp(targets, spread.expand_as(targets), amount)
