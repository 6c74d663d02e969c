"""A network that goes on with more classes: what it was, and fresh rows of the output layer for new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..item_index import rows_among
from .heads import classifier_of


@torch.no_grad()
def go_on_with(
    model: nn.Module, before: Mapping[str, Tensor], known: Sequence[str], classes: Sequence[str]
) -> nn.Module:
    """Give a network the weights of one of the same architecture for fewer classes.

    Args:
        model: for ``classes``; its output rows of classes that are not ``known`` stay as they are.
        before: the state of the other network, for ``known``.

    Returns: the model.

    Raises:
        UserError: a known class is not among ``classes``, another architecture, or an output that is not one
            linear layer.
    """
    at = rows_among(known, classes)
    if (at < 0).any():
        raise UserError(f"class {list(known)[int(at.argmin())]!r} is not among those to go on with")
    head = {id(p) for p in classifier_of(model).parameters()}
    mine = dict(model.named_parameters()) | dict(model.named_buffers())
    if mine.keys() != before.keys():
        raise UserError("the network to go on from has another architecture")
    for name, tensor in mine.items():
        theirs = before[name]
        if id(tensor) in head and len(theirs) == len(known):
            tensor[torch.from_numpy(at)] = theirs.to(tensor)
        elif theirs.shape == tensor.shape:
            tensor.copy_(theirs)
        else:
            raise UserError(f"the network to go on from has another architecture ({name})")
    return model
