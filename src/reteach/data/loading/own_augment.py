"""An augmentation of the user's as a pure function of (image, seed)."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...errors import UserError
from ...recorded import recorded
from .augment import OneByOne


@final
@recorded("augment-own")
@dataclass(frozen=True)
class OwnAugment(OneByOne):
    """Whatever the user gave, and then the size that the network takes.

    A function of two parameters is given the tensor (C, H, W) of uint8 and the seed, and must draw from that
    seed alone. Anything else is given one image, with the generators of Python, NumPy and PyTorch seeded
    for this image and put back afterwards: albumentations an array (H, W, C), all others one of Pillow.

    Args:
        name: its qualified name and a digest of its source.
        view: brings what comes out to one size, where it has another; None: it must have it.
    """

    name: str
    view: Any
    _function: Any = None

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, H, W) -> (C, S, S)."""
        out = _tensor(_applied(self._function, image, seed), image.shape[0])
        size = getattr(self.view, "size", None)
        if size is None or out.shape[-2:] == (size, size):
            return out
        viewed: Tensor = self.view(out, seed)
        return viewed


def _applied(function: Any, image: Tensor, seed: int) -> Any:
    if takes_seed(function):
        return function(image, seed)
    pixels = image.movedim(0, -1).numpy()
    with seeded(seed):
        if type(function).__module__.partition(".")[0] == "albumentations":
            if hasattr(function, "set_random_seed"):  # it has generators of its own
                function.set_random_seed(seed % 2**31)
            return function(image=np.ascontiguousarray(pixels))["image"]
        return function(Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]))


def takes_seed(function: Any) -> bool:
    """Whether it is a function of (image, seed)."""
    if not inspect.isroutine(function) and not hasattr(function, "func"):
        return False
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return sum(p.default is p.empty for p in found) == 2


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Every global generator from ``seed``, and as before at the end."""
    generator = torch.default_generator
    states = random.getstate(), np.random.get_state(), generator.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        generator.set_state(states[2])


def _tensor(out: Any, channels: int) -> Tensor:
    """(C, H, W) uint8 of what an augmentation gives."""
    if isinstance(out, Image.Image):
        out = np.asarray(out)
    if isinstance(out, np.ndarray):
        out = torch.from_numpy(np.array(out if out.ndim == 3 else out[..., None]))
        out = out.movedim(-1, 0)
    if not isinstance(out, Tensor) or out.dtype != torch.uint8 or out.dim() != 3:
        kind = f"{out.dtype} of shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out)
        raise UserError(
            f"augmentation gives {kind}: it must give pixels of uint8; leave ToTensor and Normalize out, "
            "reteach normalises as the network expects"
        )
    if out.shape[0] != channels:
        raise UserError(f"augmentation gives {out.shape[0]} channels of images of {channels}")
    return out.as_subclass(Tensor).contiguous()
