"""Views of a feature table: an image as several feature vectors, of which a batch sees one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recorded import recorded


@final
@recorded("first-view")
@dataclass(frozen=True)
class FirstView:
    """The image as it is: what evaluation sees."""

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(D, 1, V) -> (D, 1, 1)."""
        return image[..., :1]

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """(B, D, 1, V) -> (B, D, 1, 1)."""
        return images[..., :1]


@final
@recorded("drawn-view")
@dataclass(frozen=True)
class DrawnView:
    """One of the views, each equally often, by the seed alone: another one in every epoch."""

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(D, 1, V) -> (D, 1, 1)."""
        return self.batch(image[None], np.array([seed]))[0]

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """(B, D, 1, V) -> (B, D, 1, 1)."""
        # seeds are hashes: their upper bits are as good as any
        at = torch.from_numpy((seeds >> 20) % images.shape[-1])
        return images[torch.arange(len(images)), ..., at][..., None]
