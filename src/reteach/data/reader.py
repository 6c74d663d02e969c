"""From rows to pixels: decoding and augmentation, here or in worker processes, with the same result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..errors import UserError
from .decode import ImageError
from .resident import ResidentSource
from .sources import ArraySource, Source


class Augment(Protocol):
    """uint8 pixels -> uint8 pixels of one size, a pure function of (image, seed)."""

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, H, W) -> (C, S, S); of a video (C, T, H, W) -> (C, T', S, S)."""

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """(B, C, H, W) -> (B, C, S, S), equal to the single calls image by image."""


Job = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows of the source (B,), and a seed for each (B,)."""

Pixels = tuple[Tensor, list[tuple[int, str]]]
"""uint8 (B, channels, S, S), and (position, reason) of each image that could not be read."""


@final
class _Jobs(TorchDataset[Any]):
    """A whole batch as one element, so that each worker decodes a batch of its own."""

    def __init__(self, source: Source, augment: Augment) -> None:
        self.source = source
        self.augment = augment

    def __getitem__(self, job: Job) -> Pixels:
        rows, seeds = job
        if isinstance(self.source, ResidentSource):
            return self.augment.batch(self.source.batch(rows), seeds), []
        if isinstance(self.source, ArraySource):
            images = torch.from_numpy(self.source.batch(rows)).permute(0, 3, 1, 2)
            return self.augment.batch(images, seeds), []
        pixels: list[Tensor | None] = []
        broken: list[tuple[int, str]] = []
        for position, (row, seed) in enumerate(zip(rows.tolist(), seeds.tolist(), strict=True)):
            try:
                image = torch.from_numpy(self.source.read(row)).movedim(-1, 0)
                pixels.append(self.augment(image, seed))
            except ImageError as error:
                pixels.append(None)
                broken.append((position, str(error)))
        blank = next((torch.zeros_like(p) for p in pixels if p is not None), torch.zeros(3, 1, 1))
        try:
            return torch.stack([blank if p is None else p for p in pixels]), broken
        except RuntimeError:
            sizes = sorted({tuple(p.shape[1:]) for p in pixels if p is not None})
            raise UserError(
                f"the images differ in size (e.g. {sizes[0]} and {sizes[-1]}): "
                "choose an --image-size"
            ) from None


def _identity(value: Any) -> Any:
    return value


def read(
    source: Source, augment: Augment, jobs: Iterable[Job], workers: int = 0, pin: bool = False
) -> Iterator[Pixels]:
    """The pixels of each job, in order. ``workers`` processes read ahead; 0 reads right here."""
    whole = _Jobs(source, augment)
    if workers == 0:
        for job in jobs:
            yield whole[job]
        return
    yield from DataLoader(
        whole,
        batch_size=None,
        sampler=jobs,
        num_workers=workers,
        collate_fn=_identity,
        pin_memory=pin,
        generator=torch.Generator(),  # or the loader would draw from the global one
    )
