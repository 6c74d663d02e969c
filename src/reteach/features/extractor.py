"""A network whose features are taken, and how images reach it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import nn

from ..data.loading.batch import Normalize
from ..errors import UserError
from ..models import weights, zoo
from ..options.shared import Interpolation, Model
from .preprocessing import Preprocessing


@final
@dataclass(frozen=True, eq=False)
class Extractor:
    """A network whose pooled features are taken.

    Args:
        model: the network, on its device.
        seen: how images reach it.
        words: what the features are.
    """

    model: nn.Module
    seen: Preprocessing
    words: str


def expected_interpolation(model: Model, network: nn.Module) -> Interpolation:
    """How the images were resized on which the weights that training starts from were trained."""
    if model.init is not None:
        stated = weights.beside(model.init).get("interpolation")
        return "bicubic" if stated == "bicubic" else "bilinear"
    return zoo.interpolation(network) if model.pretrained else "bilinear"


def extractor_of(
    name: str, init: Path | None, pretrained: bool, image_size: int | None, device: torch.device
) -> Extractor:
    """An architecture of timm with published weights, or those of a file.

    Raises:
        UserError: neither, or whatever :func:`reteach.models.zoo.create` refuses.
    """
    if init is None and not pretrained:
        raise UserError(f"--model {name} needs weights: --init FILE, or --pretrained")
    size = image_size or zoo.default_image_size(name)
    model = zoo.create(name, 1, image_size=size, pretrained=pretrained, init=init, seed=0)
    by = expected_interpolation(Model(name, init=init, pretrained=pretrained), model)
    prepare = Normalize(*zoo.normalisation(model), device=str(device), interpolation=by)
    seen = Preprocessing(size, zoo.clip_frames(name), prepare, whose=name)
    return Extractor(model.to(device), seen, f"the features of {name}")
