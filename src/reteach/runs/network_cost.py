"""What a network costs: its parameters, and the multiply-adds of one image or clip.

"FLOPS" in papers on networks (R(2+1)D-18 on 8 frames: 21 billion) are multiply-adds; PyTorch's counter
has two operations for each. It counts matrix products and convolutions, as papers do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from ..engine.learner import Predictor
    from ..engine.setup import Setup


@final
@dataclass(frozen=True)
class NetworkCost:
    """Of all networks of a predictor together.

    Args:
        parameters: weights, trained or not.
        multiply_adds: for one image, or one clip of a video.
    """

    parameters: int
    multiply_adds: int


def cost_of(predictor: Predictor, example: Tensor) -> NetworkCost:
    """What a predictor costs on an input (1, …), by one forward pass."""
    with FlopCounterMode(display=False) as counter:
        predictor.outputs(example)
    parameters = sum(p.numel() for model in predictor.models for p in model.parameters())
    return NetworkCost(parameters, counter.get_total_flops() // 2)


def example_of(setup: Setup) -> Tensor | None:
    """(1, …) the first training image that can be read, as the kept network sees it; a clip of a video."""
    if (backbone := setup.backbone) is not None:
        seen = backbone.extractor.seen
        side, device = seen.image_size or 32, next(backbone.extractor.model.parameters()).device
        return torch.zeros((1, seen.prepare.channels, side, side), device=device)
    for row in range(min(len(setup.train), 100)):
        for _, x in setup.scan(setup.train.subset(slice(row, row + 1))):
            return x if setup.frames is None else x[:, :, : setup.frames]
    return None
