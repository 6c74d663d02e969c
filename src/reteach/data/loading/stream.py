"""Streams: batch t is a function of (seed, stream name, t), and of nothing else.

A sampler says which items are in batch t. So a stream has no state: it starts anywhere, with any number
of workers, and several processes take equal parts of the same batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ... import rng
from ...errors import UserError
from ...labels import Rows
from ...recorded import recorded
from ..dataset import Dataset
from .batch import Batch, Normalize
from .reader import Augment, read
from .samplers import Sampler


@final
@recorded("stream", free={"broken", "rank", "workers", "world"})
@dataclass(frozen=True, eq=False)
class Stream:
    """Augmented batches of a data set, for ever.

    Args:
        dataset: the images and their labels.
        order: which items are in batch t.
        batch_size: B, over all processes.
        seed, name: what the augmentation is derived from.
        workers: processes that decode; 0 decodes in this one. The batches are the same.
        rank, world: this process takes the ``rank``-th of ``world`` equal parts of each batch.
        broken: collects item -> reason for images that could not be read during training.
    """

    dataset: Dataset
    order: Sampler
    batch_size: int
    augment: Augment
    prepare: Normalize
    seed: int
    name: str = "train"
    workers: int = 0
    rank: int = 0
    world: int = 1
    broken: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"the batch size must be at least 1, got {self.batch_size}")
        if self.batch_size % self.world:
            raise UserError(
                f"a batch of {self.batch_size} cannot be shared equally by {self.world} processes"
            )

    def rows(self, step: int) -> Rows:
        """The rows of batch ``step``, over all processes."""
        return self.order.rows(step, self.batch_size)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches ``start`` to ``stop`` - 1, of which this process gets its part."""
        share = self.batch_size // self.world
        mine = slice(self.rank * share, (self.rank + 1) * share)
        key = rng.fold(self.seed, self.name, "augment")
        ahead: list[Rows] = []

        def jobs() -> Iterator[tuple[Rows, NDArray[np.int64]]]:
            for step in range(start, stop):
                places = self.order.places(step, self.batch_size)
                ahead.append(self.rows(step)[mine])
                yield self.dataset.rows[ahead[-1]], rng.seeds(key, places[mine])

        pixels = read(
            self.dataset.source, self.augment, jobs(), self.workers, self.prepare.device != "cpu"
        )
        for step, (images, unread) in enumerate(pixels, start):
            rows = ahead.pop(0)
            if len(unread) == len(rows):
                raise UserError(f"none of the images of step {step} can be read: {unread[0][1]}")
            readable = torch.ones(len(rows))
            readable[_noted(self.dataset, rows, unread, self.broken)] = 0
            yield Batch(
                step,
                self.prepare(images),
                self.dataset.labels.take(rows),
                torch.from_numpy(rows).to(self.prepare.device, non_blocking=True),
                readable.to(self.prepare.device, non_blocking=True),
            )


@final
@recorded("scan", free={"broken", "workers"})
@dataclass(frozen=True, eq=False)
class Scan:
    """One pass over a data set in its order, for prediction.

    Iterating gives (rows (B,) as numpy, x (B, channels, S, S) on the device); an image that cannot be
    read is left out and noted in ``broken``.
    """

    dataset: Dataset
    augment: Augment
    prepare: Normalize
    batch_size: int = 256
    workers: int = 0
    broken: dict[str, str] = field(default_factory=dict, repr=False)

    def __iter__(self) -> Iterator[tuple[Rows, Tensor]]:
        n = len(self.dataset)
        starts = range(0, n, self.batch_size)
        parts = (self.dataset.rows[start : start + self.batch_size] for start in starts)
        jobs = ((part, np.zeros(len(part), np.int64)) for part in parts)
        pixels = read(
            self.dataset.source, self.augment, jobs, self.workers, self.prepare.device != "cpu"
        )
        for start, (images, unread) in zip(starts, pixels, strict=True):
            rows = np.arange(start, min(start + self.batch_size, n))
            if unread:
                lost = _noted(self.dataset, rows, unread, self.broken)
                keep = np.delete(np.arange(len(rows)), lost)
                rows = rows[keep]
                if not len(rows):
                    continue
                images = images[torch.from_numpy(keep)]
            yield rows, self.prepare(images)


def _noted(
    dataset: Dataset, rows: Rows, unread: list[tuple[int, str]], broken: dict[str, str]
) -> list[int]:
    """Note which images could not be read, and why; returns their positions among ``rows``."""
    for position, reason in unread:
        item = dataset.source.items[int(dataset.rows[rows[position]])]
        broken.setdefault(item, reason)
    return [position for position, _ in unread]
