"""Networks of the user's: a function from the number of classes to a module, under a name that timm knows.

The name has a digest of the source, so that a run goes on, and is loaded, with the same network alone.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import timm
import torch
from timm.models import generate_default_cfgs, register_model
from torch import nn

from .. import own
from ..errors import UserError
from .heads import timm_config

PREFIX = "own_"
default_cfgs: dict[str, Any] = {}
_HALF = (0.5, 0.5, 0.5)
_TIMMS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def name_of(factory: Any) -> str:
    """What a network of this factory is called."""
    words = re.sub(r"\W+", "_", own.qualified(factory).rpartition(".")[2]).strip("_").lower()
    return f"{PREFIX}{words or 'network'}_{own.digest(factory)}"


def is_own(name: str) -> bool:
    """Whether an architecture is one of the user's."""
    return name.startswith(PREFIX)


def ensure(name: str) -> None:
    """Make timm know a network that was given with ``network=``.

    Raises:
        UserError: none was given, or another one.
    """
    if timm.is_model(name):
        return
    factory = own.find("network", name)

    def build(pretrained: bool = False, **asked: Any) -> nn.Module:
        return _built(name, factory, asked)

    build.__name__, build.__module__ = name, __name__
    default_cfgs.update(generate_default_cfgs({name: timm_config(224, "", "", _HALF, _HALF)}))
    register_model(build)


def refuse_outputs(model: nn.Module, classes: int, shape: tuple[int, ...]) -> None:
    """Refuse a network that gives no logits, by images of zeros; its state stays as it is.

    Args:
        shape: of the images, (B, channels, H, W).

    Raises:
        UserError: says what it gives.
    """
    was_training = model.training
    with torch.no_grad():
        found = model.eval()(torch.zeros(shape))
    model.train(was_training)
    wanted = (shape[0], classes)
    if not isinstance(found, torch.Tensor) or found.shape != wanted:
        what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise UserError(
            f"network gives {what} for images {shape}: it must give logits of shape {wanted}"
        )


def _built(name: str, factory: Any, asked: dict[str, Any]) -> nn.Module:
    given = {key: value for key, value in asked.items() if key not in _TIMMS}
    classes, channels = given.pop("num_classes", 1000), given.pop("in_chans", 3)
    if "in_chans" in inspect.signature(factory).parameters:
        given["in_chans"] = channels
    elif channels != 3:
        raise ValueError(f"the images have {channels} channels: network needs a parameter in_chans")
    model = factory(classes, **given)
    if not isinstance(model, nn.Module):
        raise TypeError(f"network gives a {type(model).__name__}, not a module of PyTorch")
    known = dict(getattr(model, "pretrained_cfg", None) or {"mean": _HALF, "std": _HALF})
    model.pretrained_cfg = {**known, "architecture": name}  # type: ignore[assignment]
    return model
