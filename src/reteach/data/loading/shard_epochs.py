"""Shuffled passes that read tar shards one after the other, so many of them at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from ... import rng
from ...errors import UserError
from ...labels import Rows
from ...recorded import recorded
from ..dataset import Dataset
from ..sources.blocks import block_of
from .samplers import Sampler

_CHUNK = 2**20


@final
@recorded("shard-epochs")
@dataclass(frozen=True, eq=False)
class ShardEpochs(Sampler):
    """Shuffled passes over M rows that lie in S shards.

    A pass is a line: the shards in a random order, the rows of each in a random order too. It is cut into
    ``at_once`` equal parts, and each part fills its own places of every batch. So a batch mixes rows of so
    many shards, a pass has each row once, and whoever reads some places of all batches reads the shards of
    those alone. ``interleave`` of tf.data mixes likewise; MosaicML's *canonical nodes* are such parts.

    The parts differ in length by one where they cannot be equal, and each begins its next pass by itself.

    Args:
        of: the rows, shard by shard.
        starts: (S + 1,) those of shard s are from ``starts[s]`` to ``starts[s + 1]``, at least one.
        at_once: parts; it divides the batch size.
    """

    of: Rows | range
    starts: NDArray[np.int64]
    at_once: int
    seed: int
    name: str = "train"
    _lines: dict[int, tuple[Rows, Rows]] = field(default_factory=dict, init=False, repr=False)
    _open: dict[int, tuple[tuple[int, int], Rows]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        if len(self.of) < self.at_once:
            raise UserError(
                f"--shuffle-shards {self.at_once}: there are only {len(self.of)} images to learn from in the "
                f"stream {self.name!r}"
            )

    @property
    def in_turn(self) -> bool:
        return True

    def rows(self, step: int, batch_size: int) -> Rows:
        share, odd = divmod(batch_size, self.at_once)
        if odd:
            raise UserError(
                f"--shuffle-shards {self.at_once} must divide --batch-size {batch_size}"
            )
        found = np.empty(batch_size, np.int64)
        for part in range(self.at_once):
            at, end = step * share, (step + 1) * share
            first, stop = (len(self.of) * i // self.at_once for i in (part, part + 1))
            while at < end:
                number, offset = divmod(at, stop - first)
                rows = self._shuffled(part, number, first + offset)
                rows = rows[: min(end - at, stop - first - offset)]
                where = part * share + at - step * share
                found[where : where + len(rows)] = rows
                at += len(rows)
        if isinstance(self.of, range):
            return self.of.start + self.of.step * found
        return self.of[found]

    def _shuffled(self, part: int, number: int, place: int) -> Rows:
        """What stands at a place in the line of a pass, and behind it as far as its shard goes."""
        order, ends = self._line(number)
        at = int(np.searchsorted(ends, place, side="right"))
        shard = int(order[at])
        start, end = self.starts[shard : shard + 2].tolist()
        if part not in self._open or self._open[part][0] != (number, shard):
            key = rng.fold(self.seed, self.name, "shard", number, shard)
            own = start + np.random.default_rng(key).permutation(end - start)
            self._open[part] = (number, shard), own
        return self._open[part][1][place - int(ends[at]) :]  # from the end: negative

    def _line(self, number: int) -> tuple[Rows, Rows]:
        """The shards of a pass in its order, and where in the line each ends."""
        if number not in self._lines:
            for old in [each for each in self._lines if abs(each - number) > 1]:
                del self._lines[old]
            key = rng.fold(self.seed, self.name, "shards", number)
            order = np.random.default_rng(key).permutation(len(self.starts) - 1)
            self._lines[number] = order, np.cumsum(np.diff(self.starts)[order])
        return self._lines[number]


def shard_by_shard(dataset: Dataset, of: Rows | range) -> tuple[Rows | range, NDArray[np.int64]]:
    """Some rows of a data set in the order of the tar shards they lie in, and where each shard begins.

    Of rows that are in order already, no array of their length is made.

    Returns:
        (M,) the rows and (S + 1,) starts, as :class:`ShardEpochs` takes them.
    """
    starts: list[NDArray[np.int64]] = []
    last = -1
    for start in range(0, len(of), _CHUNK):
        block = block_of(dataset.source, dataset.rows[np.asarray(of[start : start + _CHUNK])])
        steps = np.diff(block, prepend=last)
        if (steps < 0).any():
            return _sorted(dataset, np.asarray(of))
        starts.append(start + np.flatnonzero(steps))
        last = int(block[-1])
    return of, np.concatenate([*starts, [len(of)]])


def _sorted(dataset: Dataset, of: Rows) -> tuple[Rows, NDArray[np.int64]]:
    block = block_of(dataset.source, dataset.rows[of])
    order = np.argsort(block, kind="stable")
    changes = np.flatnonzero(np.diff(block[order], prepend=-1))
    return of[order], np.append(changes, len(of))
