"""Batch normalisation where several processes train as one: over the batch of all, or of each alone."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal, final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .distributed import world

NormOver = Literal["all", "process"]
"""What batch normalisation is over, where several processes train."""


@final
class _SharedBatchNorm(TorchFunctionMode):
    """Batch normalisation where several processes train, on any device.

    ``SyncBatchNorm`` exists on GPUs alone. Catching ``F.batch_norm`` itself reaches every layer that
    is built on it, timm's fused ones as well.

    Args:
        over: the batch of all processes, or that of each alone.
    """

    def __init__(self, over: NormOver) -> None:
        super().__init__()
        self._over = over

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.batch_norm:
            norm = _batch_norm if self._over == "all" else _own_batch_norm
            return norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class _AllReduce(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _summed(value: Tensor) -> Tensor:
    return _AllReduce.apply(value)  # type: ignore[no-any-return]


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        with torch._C.DisableTorchFunction():
            return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    wide = x.float()
    mean: Tensor = _summed(wide.mean(axes)) / world()
    centred = wide - mean.view(shape)
    var: Tensor = _summed(centred.square().mean(axes)) / world()
    if running_mean is not None and running_var is not None:
        n = x.numel() // x.shape[1] * world()
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * n / max(n - 1, 1)).to(running_var.dtype), momentum)
    out = centred * torch.rsqrt(var + eps).view(shape)
    if weight is not None:
        out = out * weight.view(shape)
    if bias is not None:
        out = out + bias.view(shape)
    return out.to(x.dtype)


def _own_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """By the images of this process; the running statistics move by the mean of all processes' statistics,
    so that all of them end with one model."""
    if training and running_mean is not None and running_var is not None:
        with torch.no_grad():
            axes = [axis for axis in range(x.dim()) if axis != 1]
            var, mean = torch.var_mean(x.float(), axes, correction=1)
            for running, now in ((running_mean, mean), (running_var, var)):
                dist.all_reduce(now)
                running.lerp_((now / world()).to(running.dtype), momentum)
    with torch._C.DisableTorchFunction():
        if training:
            return F.batch_norm(x, None, None, weight, bias, True, momentum, eps)
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)


def batch_norm_over(over: NormOver) -> Any:
    """A context in which batch normalisation sees the batch of all processes, or of each alone."""
    return _SharedBatchNorm(over) if world() > 1 else nullcontext()
