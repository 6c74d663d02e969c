"""The blocks of a network by their names in timm: what to freeze, and how deep each weight lies."""

from __future__ import annotations

from timm.models import group_parameters
from torch import nn

from ..errors import UserError, closest


def freeze_until(model: nn.Module, block: str) -> None:
    """Freeze the weights that come before a block, in the order of the network's parameters.

    The running statistics of batch normalisation go with their layer's weights
    (:class:`reteach.engine.learner.Learner`).

    Args:
        block: the name of a module that has weights, such as ``blocks.4`` or ``layer3``.

    Raises:
        UserError: the network has no block of this name, or nothing comes before it.
    """
    names = [name for name, _ in model.named_parameters()]
    first = next((i for i, name in enumerate(names) if name.startswith(f"{block}.")), None)
    if first is None or not block:
        known = [name for name, part in model.named_modules() if name and [*part.parameters()]]
        top = [name for name in known if name.count(".") <= 1]
        hint = closest(block, known) or f" (it has: {', '.join(top[:12])} …)"
        raise UserError(f"--freeze-until: the network has no block {block!r}{hint}")
    if first == 0:
        raise UserError(f"--freeze-until {block} has no effect: nothing comes before it")
    for _, parameter in list(model.named_parameters())[:first]:
        parameter.requires_grad_(False)


def rate_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """What each parameter's rate is multiplied with: ``decay`` to the power of its distance from the
    output layer, in layers (Clark et al. 2020; Bao et al. 2021 for vision transformers).

    Raises:
        UserError: timm does not know the layers of this network.
    """
    matcher = getattr(model, "group_matcher", None)
    if matcher is None:
        raise UserError(f"--layer-decay: the layers of a {type(model).__name__} are not known")
    depth: dict[str, int] = group_parameters(model, matcher(coarse=False), reverse=True)
    last = max(depth.values())
    return {name: decay ** (last - depth[name]) for name, _ in model.named_parameters()}
