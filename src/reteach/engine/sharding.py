"""A model that is shared out over the processes (FSDP2), for what does not fit into the memory of one.

Each process keeps a part of every weight, of its gradient and of the optimiser's state; a block's weights are
gathered while it computes. Zhao et al. (2023), "PyTorch FSDP", per parameter as in ``fully_shard``.

A forward pass is thereby an exchange: all processes have to make it, in evaluation too (:func:`in_step`).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from . import distributed

SHARE = 0.01
"""A block with at least this share of the weights is gathered by itself; the rest as one."""
_KEPT = "_reteach_blank"
_active = False


def share_out(model: nn.Module, optimizer: Optimizer | None = None) -> nn.Module:
    """Share a model out, in place, and let the optimiser have the parts; returns the model.

    Args:
        model: the same in all processes.
        optimizer: over its parameters, still without state.
    """
    global _active
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    _active = True
    blank = copy.deepcopy(model).to("meta")
    names = {id(p): name for name, p in model.named_parameters()}
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (distributed.world(),))
    for block in blocks(model):
        fully_shard(block, mesh=mesh)
    # also the outermost: else its weights would stay whole after an evaluation, and be taken for parts
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    object.__setattr__(model, _KEPT, (blank,))
    parts = dict(model.named_parameters())
    for group in () if optimizer is None else optimizer.param_groups:
        group["params"] = [parts[names[id(p)]] for p in group["params"]]
    return model


def blocks(model: nn.Module) -> list[nn.Module]:
    """What a network is made of: the elements of its lists and sequences that hold much of its weights."""
    whole = sum(p.numel() for p in model.parameters())
    found: list[nn.Module] = []

    def look(module: nn.Module) -> None:
        listed = isinstance(module, nn.ModuleList | nn.Sequential)
        for child in module.children():
            row = isinstance(child, nn.ModuleList | nn.Sequential)
            size = sum(p.numel() for p in child.parameters())
            if listed and not row and size >= SHARE * whole:
                found.append(child)
            else:
                look(child)

    look(model)
    return found


def in_step() -> bool:
    """Whether every process has to make every forward pass."""
    return _active and distributed.world() > 1


def is_shared_out(model: nn.Module) -> bool:
    """Whether each process has a part of the model alone."""
    return hasattr(model, _KEPT)


def is_part(tensor: Tensor) -> bool:
    """Whether a tensor is a part of a larger one, whose shape it says."""
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    own: Any = tensor
    found: Tensor = own.to_local() if is_part(tensor) else tensor
    return found


def whole(tensor: Tensor) -> Tensor:
    """A tensor, put together of the parts of all processes; all of them have to ask for it."""
    parts: Any = tensor
    found: Tensor = parts.full_tensor() if is_part(tensor) else tensor
    return found


def full_state(model: nn.Module) -> dict[str, Tensor]:
    """``model.state_dict()``, put together; all processes have to ask for it."""
    return {name: whole(tensor) for name, tensor in model.state_dict().items()}


def placed_like(parts: Tensor, value: Tensor) -> Tensor:
    """A whole tensor, the same in all processes, shared out as ``parts`` is."""
    if not is_part(parts) or is_part(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    like: Any = parts
    value = value.to(like.to_local().device)
    return distribute_tensor(value, like.device_mesh, like.placements)


@torch.no_grad()
def load_full(model: nn.Module, state: dict[str, Tensor]) -> None:
    """``model.load_state_dict(state)`` of whole tensors."""
    if not is_shared_out(model):
        model.load_state_dict(state)
        return
    for name, tensor in model.state_dict().items():
        tensor.copy_(placed_like(tensor, state[name]))


def copy_of(model: nn.Module, state: dict[str, Tensor] | None = None) -> nn.Module:
    """A copy of a model that is not shared out, by itself in each process.

    Args:
        state: its whole weights; by default those of the model, for which all processes have to ask.
    """
    if not is_shared_out(model):
        found = copy.deepcopy(model)
    else:
        state = full_state(model) if state is None else state
        found = copy.deepcopy(getattr(model, _KEPT)[0]).to_empty(device=_device(model))
        buffers = dict(model.named_buffers())  # those too that are no state
        for name, buffer in found.named_buffers():
            buffer.copy_(buffers[name])
        found.train(model.training)
    if state is not None:
        found.load_state_dict(state)
    return found


def _device(model: nn.Module) -> torch.device:
    return own_part(next(model.parameters())).device
