"""Samplers: which items are in batch t, as a function of (seed, stream name, t).

The usual one is an endless concatenation of shuffled epochs, of which batch t holds positions [t·B, (t+1)·B).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from ... import rng
from ...errors import UserError
from ...labels import Rows
from ...recorded import recorded
from ...schedules import Cycles
from ...scratch import zeros


class Sampler(Protocol):
    """Which items are in batch t; a frozen value."""

    def rows(self, step: int, batch_size: int) -> Rows:
        """(B,) rows of the data set."""

    def places(self, step: int, batch_size: int) -> Rows:
        """(B,) places in the whole sequence, of which the augmentation is a function."""
        return np.arange(step * batch_size, (step + 1) * batch_size)

    @property
    def in_turn(self) -> bool:
        """Whether tar shards are read in turn, so that each is worth a copy here before it is read."""
        return False


KEYED = 10_000_000
"""From so many items on a pass is shuffled by a keyed permutation: an array of the whole order, 8 bytes for
each item in every process, is not made. Below, the order is that of all earlier versions."""


def every(n: int) -> Rows | range:
    """The rows of a data set of n, for :class:`Epochs`; no array where that makes none either."""
    return np.arange(n) if n < KEYED else range(n)


@final
@recorded("epochs", since={"keyed": False})
@dataclass(frozen=True, eq=False)
class Epochs(Sampler):
    """Shuffled passes over ``of`` (M,) rows, one after the other without a gap.

    Args:
        keyed: how a pass is shuffled: by :func:`reteach.rng.permuted`, place by place, or as an array; None:
            as :data:`KEYED` says.
    """

    of: Rows | range
    seed: int
    name: str = "train"
    keyed: bool | None = None
    _order: dict[int, Rows] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.keyed is None:
            object.__setattr__(self, "keyed", len(self.of) >= KEYED)

    def rows(self, step: int, batch_size: int) -> Rows:
        if not len(self.of):
            raise UserError(f"no images to learn from in the stream {self.name!r}")
        parts: list[Rows] = []
        at, end = step * batch_size, (step + 1) * batch_size
        while at < end:
            epoch, offset = divmod(at, len(self.of))
            stop = min(len(self.of), offset + end - at)
            if self.keyed:
                parts.append(self._keyed(epoch, np.arange(offset, stop)))
            else:
                parts.append(self.epoch(epoch)[offset:stop])
            at += len(parts[-1])
        return np.concatenate(parts)

    def epoch(self, epoch: int) -> Rows:
        """The rows of one pass, in its order."""
        if self.keyed:
            return self._keyed(epoch, np.arange(len(self.of)))
        if epoch not in self._order:
            for old in [e for e in self._order if abs(e - epoch) > 1]:
                del self._order[old]
            generator = np.random.default_rng(rng.fold(self.seed, self.name, "order", epoch))
            self._order[epoch] = generator.permutation(self.of)
        return self._order[epoch]

    def _keyed(self, epoch: int, offsets: Rows) -> Rows:
        """The rows at some places of a pass."""
        key = rng.fold(self.seed, self.name, "order", epoch)
        found = rng.permuted(key, len(self.of), offsets)
        if isinstance(self.of, range):
            return self.of.start + self.of.step * found
        return self.of[found]


@final
@recorded("tiled-sampler")
@dataclass(frozen=True, eq=False)
class TiledSampler(Sampler):
    """Batches of ``times`` equal parts: of a data set that stands so many times behind itself, the same
    images of each.

    Args:
        of: draws from the first of them.
        size: N of one.
    """

    of: Sampler
    times: int
    size: int

    def rows(self, step: int, batch_size: int) -> Rows:
        one = self.of.rows(step, batch_size // self.times)
        return (np.arange(self.times)[:, None] * self.size + one).ravel()


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
        out = zeros(len(self.probabilities), np.float64)
        return np.cumsum(self.probabilities, out=out)


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

    @property
    def in_turn(self) -> bool:
        return self.first.in_turn or self.second.in_turn

    def rows(self, step: int, batch_size: int) -> Rows:
        turn = self.cycles(step)
        return (self.first if turn.first else self.second).rows(turn.number, batch_size)
