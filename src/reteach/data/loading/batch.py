"""A batch, and how pixels become what a model takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import final

import torch
from torch import Tensor

from ...options.shared import Interpolation
from ...recorded import recorded


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """B images of one step, on the device, with their labels.

    Args:
        step: the number t of the batch.
        x: (B, channels, H, W) float images, normalised; of videos (B, channels, T, H, W).
        y: (B, C) float32 targets: one-hot, multi-hot or soft.
        known: (B, C) bool: where it is known whether a class is present; None where that is everywhere.
        rows: (B,) their rows in the data set, on the device.
        readable: (B,) 0 where an image could not be read after all (its pixels are 0), else 1.
        complete: all of them could be read.
        part, parts: a batch that is too large for the device comes in ``parts`` equal parts.
    """

    step: int
    x: Tensor
    y: Tensor
    known: Tensor | None
    rows: Tensor
    readable: Tensor
    complete: bool = False
    part: int = 0
    parts: int = 1

    def mean(self, loss: Tensor) -> Tensor:
        """The mean of a loss per example (B,) over the batch; an image that was not read adds 0."""
        return (loss if self.complete else loss * self.readable).mean()

    def split(self, parts: int) -> Iterator[Batch]:
        """The batch in equal parts, for gradient accumulation."""
        if parts == 1:
            yield self
            return
        size = len(self.rows) // parts
        for part in range(parts):
            at = slice(part * size, (part + 1) * size)
            yield replace(
                self,
                x=self.x[at],
                y=self.y[at],
                known=None if self.known is None else self.known[at],
                rows=self.rows[at],
                readable=self.readable[at],
                part=part,
                parts=parts,
            )


@final
@recorded("normalize", free={"device"}, since={"interpolation": "bilinear"})
@dataclass(frozen=True)
class Normalize:
    """From uint8 pixels to what the model takes: floats on the device, normalised.

    ``channels`` is the model's; a grey image is repeated to it, and colours are averaged to one.
    ``interpolation`` says how photos had been resized to these pixels, which weights expect as they do the
    mean. Feature vectors come as floats and are taken on their own scale.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int = 3
    device: str = "cpu"
    channels_last: bool = False
    interpolation: Interpolation = "bilinear"

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) uint8 -> (B, channels, H, W) float32; videos have T before H."""
        layout = torch.contiguous_format
        if self.channels_last:
            layout = torch.channels_last if pixels.dim() == 4 else torch.channels_last_3d
        x = pixels.to(self.device, torch.float32, non_blocking=True)
        if self.channels == 1 and x.shape[1] == 3:
            x = x.mean(1, keepdim=True)
        top = 1.0 if pixels.is_floating_point() else 255.0
        if any(self.mean) or any(value * top != 1 for value in self.std):
            mean, std = (
                _per_channel(values, x.device, x.dim(), top) for values in (self.mean, self.std)
            )
            own = x is not pixels and x.shape[1] == mean.shape[1]
            x = (x.sub_(mean) if own else x - mean).div_(std)  # a second copy would cost its pages
        return x.contiguous(memory_format=layout)


@cache
def _per_channel(values: tuple[float, ...], device: torch.device, dims: int, top: float) -> Tensor:
    """(1, channels, 1, 1, …), on the scale of pixels up to ``top``; made once, or every step would wait for
    the device."""
    return torch.tensor(values, device=device).view(1, -1, *(1,) * (dims - 2)) * top
