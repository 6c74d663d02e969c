"""Gradients of several processes that train as one: their mean, to the same bits whenever a process began."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import nn

from .distributed import world


@final
class _SameBuckets(nn.parallel.DistributedDataParallel):
    """Gradients are added in the same order at every step, so that a resumed training has the same bits.

    Where a gradient lies in its bucket settles in which order the processes' parts are added. PyTorch
    sorts the buckets anew after the first step of a process, by when gradients came: a training that is
    resumed would take one step with others than a training that is not. Here they are sorted before the
    first step and stay so, in the order in which gradients mostly come: from the last layer to the first.
    """

    def __init__(self, model: nn.Module, ids: list[int | None] | None) -> None:
        super().__init__(model, device_ids=ids)
        reducer: Any = self.reducer
        reducer._push_all_rebuilt_params()
        assert reducer._rebuild_buckets()

    def _build_params_for_reducer(self) -> tuple[list[nn.Parameter], list[bool]]:
        parameters, sparse = super()._build_params_for_reducer()  # type: ignore[no-untyped-call]
        return parameters[::-1], sparse[::-1]


def parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """The module to call in training: wrapped for gradient averaging when there are processes."""
    if world() == 1:
        return model
    return _SameBuckets(model, [device.index] if device.type == "cuda" else None)
