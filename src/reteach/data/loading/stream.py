"""Streams: batch t is a function of (seed, stream name, t), and of nothing else.

An *order* says which items are in batch t. The usual one is an endless concatenation of shuffled
epochs, of which batch t holds positions [t·B, (t+1)·B). So a stream has no state: it starts anywhere,
with any number of workers, and several processes take equal parts of the same batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ... import rng
from ...errors import UserError
from ...labels import LabelSet, Rows
from ...recorded import recorded
from ...schedules import Cycles
from ..dataset import Dataset
from .reader import Augment, read


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """B images of one step, on the device, with their labels.

    Args:
        step: the number t of the batch.
        x: (B, channels, H, W) float images, normalised; of videos (B, channels, T, H, W).
        labels: their label set, B items.
        rows: (B,) their rows in the data set, on the device.
        readable: (B,) 0 where an image could not be read after all (its pixels are 0), else 1.
        part, parts: a batch that is too large for the device comes in ``parts`` equal parts.
    """

    step: int
    x: Tensor
    labels: LabelSet
    rows: Tensor
    readable: Tensor
    part: int = 0
    parts: int = 1

    @cached_property
    def y(self) -> Tensor:
        """(B, C) float32 targets: one-hot, multi-hot or soft."""
        return self.labels.dense(self.x.device)

    @cached_property
    def known(self) -> Tensor | None:
        """(B, C) bool: where it is known whether a class is present; None where that is everywhere."""
        entries = self.labels.known_entries()
        return None if entries is None else torch.from_numpy(entries).to(self.x.device)

    def mean(self, loss: Tensor) -> Tensor:
        """The mean of a loss per example (B,) over the batch; an image that was not read adds 0."""
        return (loss * self.readable).mean()

    def split(self, parts: int) -> Iterator[Batch]:
        """The batch in equal parts, for gradient accumulation."""
        if parts == 1:
            yield self
            return
        size = len(self.labels) // parts
        for part in range(parts):
            at = slice(part * size, (part + 1) * size)
            yield replace(
                self,
                x=self.x[at],
                labels=self.labels.take(at),
                rows=self.rows[at],
                readable=self.readable[at],
                part=part,
                parts=parts,
            )


@final
@recorded("normalize", free={"device"})
@dataclass(frozen=True)
class Normalize:
    """From uint8 pixels to what the model takes: floats on the device, normalised.

    ``channels`` is the model's; a grey image is repeated to it, and colours are averaged to one.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int = 3
    device: str = "cpu"
    channels_last: bool = False

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) uint8 -> (B, channels, H, W) float32; videos have T before H."""
        layout = torch.contiguous_format
        if self.channels_last:
            layout = torch.channels_last if pixels.dim() == 4 else torch.channels_last_3d
        x = pixels.to(self.device, non_blocking=True).float()
        if self.channels == 1 and x.shape[1] == 3:
            x = x.mean(1, keepdim=True)
        mean, std = (_per_channel(values, x.device, x.dim()) for values in (self.mean, self.std))
        return ((x - mean) / std).contiguous(memory_format=layout)


@cache
def _per_channel(values: tuple[float, ...], device: torch.device, dims: int) -> Tensor:
    """(1, channels, 1, 1, …), on the scale of pixels; made once, or every step would wait for the
    device."""
    return torch.tensor(values, device=device).view(1, -1, *(1,) * (dims - 2)) * 255


class Sampler(Protocol):
    """Which items are in batch t; a frozen value."""

    def rows(self, step: int, batch_size: int) -> Rows:
        """(B,) rows of the data set."""

    def places(self, step: int, batch_size: int) -> Rows:
        """(B,) places in the whole sequence, of which the augmentation is a function."""
        return np.arange(step * batch_size, (step + 1) * batch_size)


@final
@recorded("epochs")
@dataclass(frozen=True, eq=False)
class Epochs(Sampler):
    """Shuffled passes over ``of`` (M,) rows, one after the other without a gap."""

    of: Rows
    seed: int
    name: str = "train"
    _order: dict[int, Rows] = field(default_factory=dict, init=False, repr=False)

    def rows(self, step: int, batch_size: int) -> Rows:
        if not len(self.of):
            raise UserError(f"no images to learn from in the stream {self.name!r}")
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, offsets = np.divmod(positions, len(self.of))
        out = np.empty(batch_size, np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            out[here] = self.epoch(epoch)[offsets[here]]
        return out

    def epoch(self, epoch: int) -> Rows:
        """The rows of one pass, in its order."""
        if epoch not in self._order:
            for old in [e for e in self._order if abs(e - epoch) > 1]:
                del self._order[old]
            generator = np.random.default_rng(rng.fold(self.seed, self.name, "order", epoch))
            self._order[epoch] = generator.permutation(self.of)
        return self._order[epoch]


@final
@recorded("subset-sampler")
@dataclass(frozen=True, eq=False)
class SubsetSampler(Sampler):
    """The members of a part of the data set, as they come in shuffled passes over the whole.

    So the parts of several models are gone through at the same pace, and an image is augmented alike
    for all of them: its pixels need to be made once only. A part of all images is the whole.

    Args:
        whole: passes over all N rows.
        members: (M,) ascending rows of the whole; row m of the part is row ``members[m]`` there.
    """

    whole: Epochs
    members: Rows
    _passes: dict[int, tuple[Rows, Rows]] = field(default_factory=dict, init=False, repr=False)

    def rows(self, step: int, batch_size: int) -> Rows:
        return self._look(step, batch_size)[0]

    def places(self, step: int, batch_size: int) -> Rows:
        return self._look(step, batch_size)[1]

    def _look(self, step: int, batch_size: int) -> tuple[Rows, Rows]:
        if not len(self.members):
            raise UserError(f"no images to learn from in the stream {self.whole.name!r}")
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, offsets = np.divmod(positions, len(self.members))
        rows, places = np.empty((2, batch_size), np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            mine, at = self._pass(epoch)
            rows[here] = mine[offsets[here]]
            places[here] = epoch * len(self.whole.of) + at[offsets[here]]
        return rows, places

    def _pass(self, epoch: int) -> tuple[Rows, Rows]:
        """The part's rows of one pass, and where in the pass they stand."""
        if epoch not in self._passes:
            for old in [e for e in self._passes if abs(e - epoch) > 1]:
                del self._passes[old]
            order = self.whole.epoch(epoch)
            at = np.flatnonzero(np.isin(order, self.members))
            self._passes[epoch] = np.searchsorted(self.members, order[at]), at
        return self._passes[epoch]


@final
@recorded("weighted-sampler")
@dataclass(frozen=True, eq=False)
class WeightedSampler(Sampler):
    """Independent draws with the given probabilities (N,), such as those of ``rebalanced``."""

    probabilities: NDArray[np.float64]
    seed: int
    name: str = "train"

    def rows(self, step: int, batch_size: int) -> Rows:
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        u = rng.uniform(rng.fold(self.seed, self.name, "draw"), positions)
        found = np.searchsorted(self._cumulated, u * self._cumulated[-1], side="right")
        return np.asarray(found, np.int64)

    @cached_property
    def _cumulated(self) -> NDArray[np.float64]:
        return np.cumsum(self.probabilities)


@final
@recorded("alternating-sampler")
@dataclass(frozen=True, eq=False)
class AlternatingSampler(Sampler):
    """Two orders that take turns, each going on where it was.

    MILe on labelled and unlabelled data (Section 4.2) is this order under the same algorithm: the
    teacher's steps see labelled images, the student's steps all of them.
    """

    first: Sampler
    second: Sampler
    cycles: Cycles

    def rows(self, step: int, batch_size: int) -> Rows:
        turn = self.cycles(step)
        return (self.first if turn.first else self.second).rows(turn.number, batch_size)


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
            for position, reason in unread:
                readable[position] = 0
                item = self.dataset.source.items[int(self.dataset.rows[rows[position]])]
                self.broken.setdefault(item, reason)
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
                for position, reason in unread:
                    item = self.dataset.source.items[int(self.dataset.rows[rows[position]])]
                    self.broken.setdefault(item, reason)
                keep = np.delete(np.arange(len(rows)), [position for position, _ in unread])
                rows = rows[keep]
                if not len(rows):
                    continue
                images = images[torch.from_numpy(keep)]
            yield rows, self.prepare(images)
