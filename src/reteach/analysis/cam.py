"""Where a network looks: class activation maps of any of its classes (CPSD, Figure 4).

* ``gradient`` — how much each place p of the last feature map A speaks for class c: the gradient of
  the logit times the features, Σ_f ∂z_c/∂A_f(p) · A_f(p) (HiResCAM, Draelos & Carin 2020). With global
  average pooling and one linear layer this *is* the class activation map of Zhou et al. (2016), and the
  map adds up to the logit without its bias. Behind other poolings it stays faithful.
* ``grad-cam`` — the gradient averaged over the places first (Selvaraju et al. 2017). The same again for
  average pooling; blurred where the rest of the network treats places differently.
* ``attention`` — for heads with a token per class (:mod:`reteach.models.class_heads`): how much the token
  of class c looks at each place in the last layer, averaged over the attention heads, as the authors
  of Query2Label show it. It does not say whether what is looked at speaks for the class or against it.
* ``auto`` — ``attention`` where it can be had, else ``gradient``. Behind a transformer gradients mislead:
  attention that found its object is saturated, and there more of a feature may well mean less.

Maps are raw, in the resolution of the features; only those of attention are never negative. :func:`heat`
makes them pictures. The network is not changed; it is run in evaluation mode, whatever mode it was in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from ..errors import UserError
from ..models.class_heads import class_head_of
from ..models.q2l import QueryHead
from ..models.tokens import TokenHead

Method = Literal["auto", "gradient", "grad-cam", "attention"]


def cam(model: nn.Module, x: Tensor, classes: Sequence[int], method: Method = "auto") -> Tensor:
    """Class activation maps.

    Args:
        model: of timm or with its conventions (``forward_features`` and ``forward_head``).
        x: (B, 3, H, W) images, normalised for the network.
        classes: K indices of the network's outputs.
        method: see the module.

    Returns: (B, K, h, w) float32, without gradient.

    Raises:
        UserError: the network has no feature map, or no class tokens for ``attention``.
    """
    if not (hasattr(model, "forward_features") and hasattr(model, "forward_head")):
        raise UserError(f"{type(model).__name__} has no feature map to show: not a network of timm")
    head = class_head_of(model)
    if method == "attention" and head is None:
        raise UserError(f"{type(model).__name__} has no class tokens: use gradient")
    with _evaluating(model):
        if head is not None and method in ("auto", "attention"):
            return _attention(model, head, x, classes)
        return _gradient(model, x, classes, pooled=method == "grad-cam")


def heat(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, K, h, w) as pictures (B, K, H, W) in [0, 1]: what speaks for the class, its top at 1."""
    large = F.interpolate(maps.clamp_min(0), size, mode="bilinear", align_corners=False)
    return large / large.amax((-2, -1), keepdim=True).clamp_min(1e-12)


def _gradient(model: Any, x: Tensor, classes: Sequence[int], pooled: bool) -> Tensor:
    caught: list[Tensor] = []
    block = _last_but_one_block(model)
    hooks = []
    if block is not None:
        hooks.append(block.register_forward_hook(lambda module, given, out: caught.append(out)))
    with torch.enable_grad(), _removing(hooks):
        # With a gradient at the input there is one at the features of a frozen network too.
        features = model.forward_features(x.detach().requires_grad_())
        logits = model.forward_head(features)
        source = caught[0] if caught else features
        # Images of a batch do not know each other in evaluation, so that their logits may be summed.
        slopes = [
            torch.autograd.grad(logits[:, c].sum(), source, retain_graph=True)[0] for c in classes
        ]
    there = _as_map(model, source.detach())
    maps = []
    for slope in slopes:
        here = _as_map(model, slope)
        weight = here.mean((-2, -1), keepdim=True) if pooled else here
        maps.append((weight * there).sum(1))
    return torch.stack(maps, 1).float()


@torch.no_grad()
def _attention(
    model: nn.Module, head: TokenHead | QueryHead, x: Tensor, classes: Sequence[int]
) -> Tensor:
    last: Any = head.layers[-1] if isinstance(head, TokenHead) else head.decoders[-1]
    weights: list[Tensor] = []
    sizes: list[tuple[int, int]] = []
    hooks = [
        last.attention.register_forward_pre_hook(
            lambda module, given: weights.append(module.weights(given[0], given[1]))
        ),
        head.register_forward_pre_hook(lambda module, given: sizes.append(given[1])),
    ]
    with _removing(hooks):
        model(x)
    height, width = sizes[0]
    # The image tokens stand behind the class tokens, if those are among the keys.
    maps = weights[0][:, :, list(classes), -height * width :].mean(1)
    return maps.reshape(len(x), len(classes), height, width).float()


def _last_but_one_block(model: Any) -> nn.Module | None:
    """Where to look in a vision transformer that judges by its class token.

    The other tokens have no say any more after its last block, so that what goes into that is taken.
    """
    blocks = getattr(model, "blocks", None)
    if getattr(model, "global_pool", None) != "token" or blocks is None or len(blocks) < 2:
        return None
    block: nn.Module = blocks[-2]
    return block


def _as_map(model: Any, features: Tensor) -> Tensor:
    """Features of any layout as (B, F, h, w)."""
    if features.dim() == 4:
        last = str(getattr(model, "output_fmt", "NCHW")).upper().endswith("NHWC")
        return features.movedim(-1, 1) if last else features
    if features.dim() != 3:
        raise UserError(f"{type(model).__name__} has no feature map to show")
    features = features[:, int(getattr(model, "num_prefix_tokens", 0)) :]
    side = round(features.shape[1] ** 0.5)
    if side**2 != features.shape[1]:
        raise UserError(f"{type(model).__name__}: its {features.shape[1]} tokens are no square")
    return features.mT.reshape(*features.shape[::2], side, side)


@contextmanager
def _removing(hooks: Sequence[RemovableHandle]) -> Iterator[None]:
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
