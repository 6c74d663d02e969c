"""Streams: batch t is a function of (seed, stream name, t), and of nothing else.

A sampler says which items are in batch t. So a stream has no state: it starts anywhere, with any number
of workers, and several processes take equal parts of the same batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ... import rng
from ...errors import UserError
from ...labels import Rows
from ...recorded import recorded
from ..dataset import Dataset
from ..sources.arrays import ArraySource
from .at_hand import at_hand
from .batch import Batch, Normalize
from .dense_labels import DenseLabels
from .mixing import Mix, Reverse, flipped
from .reader import Augment, Job, read
from .samplers import Sampler


@final
@recorded("stream", free={"broken", "rank", "reverse", "workers", "world"}, since={"mix": None})
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
        mix: mixup and cutmix of each batch; None: neither.
        reverse: this process's part of a batch -> its part of the batch in reverse, which is mixed with it.
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
    mix: Mix | None = None
    reverse: Reverse = flipped

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
        device = torch.device(self.prepare.device)
        labels = DenseLabels(self.dataset.labels, device)
        groups = _groups(start, stop, self._at_once(share))
        ahead: deque[tuple[range, Rows]] = deque()

        def jobs() -> Iterator[tuple[Rows, NDArray[np.int64]]]:
            for steps in groups:
                rows = np.concatenate([self.rows(step)[mine] for step in steps])
                places = [self.order.places(step, self.batch_size)[mine] for step in steps]
                ahead.append((steps, rows))
                yield self.dataset.rows[rows], rng.seeds(key, np.concatenate(places))

        order: Iterable[Job] = jobs()
        if self.order.in_turn:
            coming = (self.dataset.rows[self.rows(step)[mine]] for step in range(start, stop))
            order = at_hand(self.dataset.source, order, coming)
        for images, unread in read(
            self.dataset.source, self.augment, order, self.workers, device.type != "cpu"
        ):
            steps, rows = ahead.popleft()
            if len(unread) == len(rows):
                why = unread[0][1]
                raise UserError(f"none of the images of step {steps[0]} can be read: {why}")
            readable = torch.ones(len(rows))
            if unread:
                readable[_noted(self.dataset, rows, unread, self.broken)] = 0
            at = torch.from_numpy(rows).to(device, non_blocking=True)
            y, known = labels.of(rows, at)
            tensors = (self.prepare(images), y, known, at, readable.to(device, non_blocking=True))
            made = zip(steps, *(_parts(t, share) for t in tensors), strict=False)
            for step, x, y, known, at, readable in made:
                batch = Batch(step, x, y, known, at, readable, complete=not unread)
                yield batch if self.mix is None else self.mix(batch, self.reverse)

    def _at_once(self, share: int) -> int:
        """How many batches are made together: several of vectors and small images in memory, where the work
        around them takes longer than the pixels do. They are the same batches."""
        source = self.dataset.source
        if self.prepare.device != "cpu" or self.workers or not isinstance(source, ArraySource):
            return 1
        return max(1, _BYTES // (4 * share * int(source.images[0].size)))


_BYTES = 2**21
"""Of float pixels that are made together: what stays in a processor's cache."""
_ALIGNMENT = 64
"""Bytes to which PyTorch aligns a tensor of its own, and on which the last bit of a product may depend."""


def _groups(start: int, stop: int, size: int) -> Iterator[range]:
    for first in range(start, stop, size):
        yield range(first, min(first + size, stop))


def _parts(tensor: Tensor | None, size: int) -> Iterable[Any]:
    """The batches of ``size`` rows in a tensor, each placed in memory as one that was made alone."""
    if tensor is None:
        return repeat(None)
    parts = torch.split(tensor, size)
    odd = size * tensor[0].nbytes % _ALIGNMENT and len(parts) > 1
    return [part.clone() for part in parts] if odd else parts


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
