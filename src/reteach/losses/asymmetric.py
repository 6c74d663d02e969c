"""The asymmetric loss for many labels of which few are positive (ASL).

Ridnik et al., *Asymmetric Loss for Multi-Label Classification* (ICCV 2021); the loss of every teacher and
of the student in CPSD (Xu et al. 2022, Eq. 4). With p = σ(x) and targets y,

    L = Σ_c  y · (1 − p)^γ⁺ · (−log p)  +  (1 − y) · q^γ⁻ · (−log(1 − q)),    q = max(p − μ, 0)

* *The sign.* CPSD's Eq. (4) prints the logarithms without their minus sign; a loss has it.
* *The shift μ* concerns negatives only: Eq. (4) reads as if p were shifted for positives as well, which
  would make the loss of a positive with p ≤ μ infinite. ASL's own text and both codes shift negatives.
* *Defaults* are those of CPSD's code, γ⁻ = 4, γ⁺ = 0, μ = 0.05 (Q2L: γ⁻ = 2, γ⁺ = 0, μ = 0). ASL's
  and timm's signature has γ⁺ = 1.
* *No floor.* ASL and timm clamp probabilities at 1e-8, so that a positive with logit below −18 has no
  gradient. Here −log p is a softplus of the logit: the same to 1e-6 above that floor, right below it.
* *Gradient.* The codes of ASL and of CPSD hold the focusing factors (1 − p)^γ⁺ and q^γ⁻ constant in it
  (``disable_torch_grad_focal_loss=True``), and so do we. ``focus_gradient=True`` is the gradient of the
  formula.
* *Soft targets* weigh the two terms, so that the loss is linear in y and a target of 0.3 means three
  positives in ten.

With γ⁺ = γ⁻ = μ = 0 this is :func:`reteach.losses.standard.sigmoid_bce_sum`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..recorded import recorded


def asymmetric(
    logits: Tensor,
    targets: Tensor,
    known: Tensor | None = None,
    *,
    gamma_neg: float = 4.0,
    gamma_pos: float = 0.0,
    shift: float = 0.05,
    focus_gradient: bool = False,
) -> Tensor:
    """ASL per example, summed over the classes.

    Computed in float32 whatever the logits' type (float64 stays), with the gradient made in the same
    pass: no graph of intermediate values is kept. Gradients of gradients are not available.

    Args:
        logits: (B, C).
        targets: (B, C) in [0, 1], or bool.
        known: (B, C) bool or weights; entries with 0 add nothing. None: every entry is known.
        gamma_neg: γ⁻ ≥ 0, focusing of negatives.
        gamma_pos: γ⁺ ≥ 0, focusing of positives.
        shift: μ in [0, 1); negatives with p ≤ μ add nothing.
        focus_gradient: whether the gradient goes through the focusing factors.

    Returns: (B,).
    """
    if gamma_neg < 0 or gamma_pos < 0 or not 0 <= shift < 1:
        raise ValueError("ASL needs gamma_neg ≥ 0, gamma_pos ≥ 0 and 0 ≤ shift < 1")
    loss: Tensor = _Asymmetric.apply(
        logits, targets, known, gamma_neg, gamma_pos, shift, focus_gradient
    )
    return loss


@final
@recorded("asymmetric")
@dataclass(frozen=True)
class Asymmetric:
    """:func:`asymmetric` with its settings, as a loss: (logits, targets[, known]) -> (B,)."""

    gamma_neg: float = 4.0
    gamma_pos: float = 0.0
    shift: float = 0.05
    focus_gradient: bool = False

    def __post_init__(self) -> None:
        if self.gamma_neg < 0 or self.gamma_pos < 0:
            raise UserError("--gamma-neg and --gamma-pos must not be negative")
        if not 0 <= self.shift < 1:
            raise UserError(f"--shift must lie in [0, 1), got {self.shift}")

    def __call__(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """The loss per example (B,)."""
        return asymmetric(
            logits,
            targets,
            known,
            gamma_neg=self.gamma_neg,
            gamma_pos=self.gamma_pos,
            shift=self.shift,
            focus_gradient=self.focus_gradient,
        )


class _Asymmetric(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        known: Tensor | None,
        gamma_neg: float,
        gamma_pos: float,
        shift: float,
        focus_gradient: bool,
    ) -> Tensor:
        x = logits if logits.dtype == torch.float64 else logits.float()
        y = targets.to(x.dtype)
        need = ctx.needs_input_grad[0]
        p = torch.sigmoid(x)
        absent = torch.sigmoid(-x)  # 1 - p without cancellation
        # what the derivative of the focusing factors is multiplied with
        through_pos, through_neg = (gamma_pos, gamma_neg) if focus_gradient else (0.0, 0.0)
        pos, pos_slope = _positive(x, p, absent, gamma_pos, through_pos, need)
        neg, neg_slope = _negative(x, p, absent, gamma_neg, through_neg, shift, need)
        loss = torch.lerp(neg, pos, y)
        if known is not None:
            loss = loss * known
        if need:
            assert pos_slope is not None
            assert neg_slope is not None
            slope = torch.lerp(neg_slope, pos_slope, y)
            if known is not None:
                slope = slope * known
            ctx.save_for_backward(slope)
            ctx.dtype = logits.dtype
        return loss.sum(-1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return (slope * upstream[:, None]).to(ctx.dtype), None, None, None, None, None, None


def _positive(
    x: Tensor, p: Tensor, absent: Tensor, gamma: float, through: float, need: bool
) -> tuple[Tensor, Tensor | None]:
    """(1 − p)^γ · (−log p), and its derivative −(1 − p)^γ · (1 − p + γ p (−log p))."""
    surprise = F.softplus(-x)
    focus = absent**gamma if gamma else None
    loss = surprise if focus is None else focus * surprise
    if not need:
        return loss, None
    slope = -absent if not through else -(absent + through * p * surprise)
    return loss, slope if focus is None else focus * slope


def _negative(
    x: Tensor, p: Tensor, absent: Tensor, gamma: float, through: float, shift: float, need: bool
) -> tuple[Tensor, Tensor | None]:
    """q^γ · (−log(1 − q)) with q = max(p − μ, 0), and its derivative (0 where q = 0)."""
    if shift == 0:
        surprise = F.softplus(x)
        focus = p**gamma if gamma else None
        loss = surprise if focus is None else focus * surprise
        if not need:
            return loss, None
        slope = p if not through else p + through * absent * surprise
        return loss, slope if focus is None else focus * slope
    q = (p - shift).clamp_min_(0)
    surprise = -torch.log1p(-q)
    focus = q**gamma if gamma else (q > 0).to(q.dtype)
    if not need:
        return focus * surprise, None
    # dL/dq = q^γ / (1 − q) + γ q^γ · (s / q); s / q tends to 1, so that γ < 1 needs no special case
    rate = 1 / (1 - q)
    if through:
        rate = rate + through * surprise / q.clamp_min(1e-30)
    return focus * surprise, focus * rate * p * absent
