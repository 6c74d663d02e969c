"""Images that stay on the device: a step moves numbers of rows to it, and no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..sources.arrays import ArraySource
from ..sources.base import Source
from .cache import CachedSource
from .shared import SharedSource


@final
class ResidentSource:
    """The images of an array on a device, for small images and fast devices.

    CIFAR is 150 MB. Augmentations that compute where the images are (:class:`~.augment.Plain`,
    :class:`~.augment.CropFlip`) give the same pixels there, because their draws are functions of the
    seed and made on the host. It cannot be shared with decoding processes, and needs none.

    Attributes:
        images: (N, channels, H, W) uint8 on the device.
    """

    def __init__(self, source: ArraySource, device: torch.device | str) -> None:
        self.items: Sequence[str] = source.items
        self.class_of: Sequence[str] | None = source.class_of
        self.channels = source.channels
        self.images = torch.from_numpy(source.images).permute(0, 3, 1, 2).contiguous().to(device)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, channels) uint8, on the host."""
        pixels: NDArray[np.uint8] = self.images[row].permute(1, 2, 0).cpu().numpy()
        return pixels

    def batch(self, rows: NDArray[np.int64]) -> Tensor:
        """(B, channels, H, W) uint8 on the device, a copy."""
        return self.images[torch.from_numpy(rows).to(self.images.device, non_blocking=True)]


def in_memory(source: Source) -> bool:
    """Whether reading an image of the source decodes nothing."""
    return isinstance(source, ArraySource | CachedSource | ResidentSource | SharedSource)
