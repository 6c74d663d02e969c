"""The asymmetric loss against loops, against timm, against BCE, and at the edges of half precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.loss import AsymmetricLossMultiLabel
from torch import Tensor

from reteach.losses.asymmetric import asymmetric
from reteach.losses.standard import sigmoid_bce_sum

SETTINGS = [(4.0, 0.0, 0.05), (4.0, 1.0, 0.05), (2.0, 0.0, 0.0), (0.0, 0.0, 0.2), (0.5, 1.5, 0.1)]


def transcribed(x: Tensor, y: Tensor, gamma_neg: float, gamma_pos: float, shift: float) -> Tensor:
    """Eq. (4) with its minus sign, number by number."""
    out = []
    for row, wanted in zip(x.tolist(), y.tolist(), strict=True):
        total = 0.0
        for value, present in zip(row, wanted, strict=True):
            p = 1 / (1 + math.exp(-value))
            q = max(p - shift, 0.0)
            total -= present * (1 - p) ** gamma_pos * math.log(p)
            total -= (1 - present) * (q**gamma_neg if q or gamma_neg else 0) * math.log(1 - q)
        out.append(total)
    return torch.tensor(out, dtype=torch.float64)


def batch(n: int = 6, c: int = 7, spread: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = spread * torch.randn(n, c, generator=generator, dtype=torch.float64)
    return x, (torch.rand(n, c, generator=generator) < 0.4).double()


@pytest.mark.parametrize(("gamma_neg", "gamma_pos", "shift"), SETTINGS)
@pytest.mark.parametrize("soft", [False, True])
def test_is_equation_4(gamma_neg: float, gamma_pos: float, shift: float, soft: bool) -> None:
    x, y = batch()
    y = 0.8 * y + 0.1 if soft else y
    found = asymmetric(x, y, gamma_neg=gamma_neg, gamma_pos=gamma_pos, shift=shift)
    assert found.shape == (6,)
    torch.testing.assert_close(
        found, transcribed(x, y, gamma_neg, gamma_pos, shift), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("gamma_neg", "gamma_pos", "shift"), SETTINGS)
def test_gradient_is_that_of_finite_differences(
    gamma_neg: float, gamma_pos: float, shift: float
) -> None:
    x, y = batch()
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.7
    assert torch.autograd.gradcheck(
        lambda z: asymmetric(
            z, y, known, gamma_neg=gamma_neg, gamma_pos=gamma_pos, shift=shift, focus_gradient=True
        ),
        x.requires_grad_(),
    )


# without a gamma between 0 and 1, for which timm's gradient is not a number where q = 0
@pytest.mark.parametrize(("gamma_neg", "gamma_pos", "shift"), SETTINGS[:4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("through", [True, False])
def test_equals_timm(
    gamma_neg: float, gamma_pos: float, shift: float, dtype: torch.dtype, through: bool
) -> None:
    theirs = AsymmetricLossMultiLabel(
        gamma_neg=gamma_neg,
        gamma_pos=gamma_pos,
        clip=shift,
        disable_torch_grad_focal_loss=not through,
    )
    x, y = batch(spread=2.0)
    a, b = (x.detach().clone().to(t).requires_grad_() for t in (dtype, torch.float32))
    ours = asymmetric(
        a, y, gamma_neg=gamma_neg, gamma_pos=gamma_pos, shift=shift, focus_gradient=through
    )
    # row by row: what timm does with the batch has changed between its versions
    rows = torch.stack([theirs(b[i : i + 1], y[i : i + 1].float()) for i in range(len(b))])
    torch.testing.assert_close(ours.float(), rows, rtol=1e-6, atol=1e-6)
    ours.sum().backward()
    rows.sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    torch.testing.assert_close(a.grad.float(), b.grad, rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 10**6), spread=st.floats(0.1, 30))
@settings(max_examples=20, deadline=None)
def test_without_focus_and_shift_it_is_cross_entropy(seed: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (spread * torch.randn(4, 5, generator=generator)).requires_grad_()
    y = torch.rand(4, 5, generator=generator)
    ours = asymmetric(x, y, gamma_neg=0, gamma_pos=0, shift=0)
    torch.testing.assert_close(ours, sigmoid_bce_sum(x, y), rtol=1e-6, atol=1e-6)
    (slope,) = torch.autograd.grad(ours.sum(), x)
    torch.testing.assert_close(slope, x.detach().sigmoid() - y, rtol=1e-5, atol=1e-6)


def test_unknown_entries_add_nothing() -> None:
    x, y = batch()
    x.requires_grad_()
    known = torch.ones(6, 7, dtype=torch.bool)
    known[:, 2] = known[3] = False
    ours = asymmetric(x, y, known)
    kept = [0, 1, 3, 4, 5, 6]
    torch.testing.assert_close(ours[[0, 5]], asymmetric(x[:, kept], y[:, kept])[[0, 5]])
    assert ours[3] == 0
    (slope,) = torch.autograd.grad(ours.sum(), x)
    assert (slope[:, 2] == 0).all()
    assert (slope[3] == 0).all()
    assert (slope[0, kept] != 0).any()
    flipped = asymmetric(x, torch.where(known, y, 1 - y), known)
    assert torch.equal(flipped, ours)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("gamma_neg", "gamma_pos", "shift"), SETTINGS)
def test_extreme_logits_stay_finite_and_right(
    dtype: torch.dtype, gamma_neg: float, gamma_pos: float, shift: float
) -> None:
    x = torch.tensor([[-60000.0, -90.0, -20.0, 0.0, 20.0, 90.0, 60000.0]]).to(dtype)
    for y in (torch.zeros(1, 7), torch.ones(1, 7)):
        z = x.clone().requires_grad_()
        loss = asymmetric(z, y, gamma_neg=gamma_neg, gamma_pos=gamma_pos, shift=shift)
        loss.sum().backward()
        assert loss.dtype == torch.float32
        assert z.grad is not None
        assert z.grad.dtype == dtype
        assert torch.isfinite(loss).all()
        assert torch.isfinite(z.grad).all()


def test_a_very_wrong_positive_still_learns() -> None:
    x = torch.tensor([[-30.0]], requires_grad=True)
    asymmetric(x, torch.ones(1, 1)).sum().backward()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(-1)


def test_wrong_settings_are_refused() -> None:
    x, y = batch()
    for wrong in ({"gamma_neg": -1.0}, {"gamma_pos": -0.1}, {"shift": 1.0}, {"shift": -0.1}):
        with pytest.raises(ValueError, match="ASL needs"):
            asymmetric(x, y, **wrong)
