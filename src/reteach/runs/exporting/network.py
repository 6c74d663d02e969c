"""Everything that makes probabilities of pixels, as one network: normalisation, networks, calibration."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ...engine.learner import Predictor, one_view
from ...models.presence import mapped, odds
from ..checkpoint import LoadedModels


@final
class Whole(nn.Module):
    """Pixels (B, 3, H, W) float32 in [0, 1] -> (probabilities (B, C), logits (B, C)).

    With a calibration both are the calibrated ones. The same numbers as the predictor's own.

    Args:
        predictor: on the CPU; the logits of several networks are averaged.
        saved: the model that it is of.
    """

    def __init__(self, predictor: Predictor, saved: LoadedModels) -> None:
        super().__init__()
        self.networks = nn.ModuleList(predictor.models)
        self.link = predictor.link
        self.grey = saved.prepare.channels == 1
        mean, std = (
            torch.tensor(v).view(1, -1, 1, 1) for v in (saved.prepare.mean, saved.prepare.std)
        )
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.presence = predictor.presence
        if self.presence is not None:
            self.register_buffer("knots", torch.from_numpy(self.presence.table))
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = pixels.mean(1, keepdim=True) if self.grey else pixels
        x = (x - self.get_buffer("mean")) / self.get_buffer("std")
        logits = torch.stack([one_view(network(x)).float() for network in self.networks]).mean(0)
        if self.presence is not None:
            knots, how = self.get_buffer("knots"), self.presence
            logits = mapped(odds(logits, how.link), knots, how.low, how.step)
        return logits.softmax(-1) if self.link == "softmax" else logits.sigmoid(), logits
