"""``reteach score``: what a run's model says of very many images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from ..data.sources.base import PREFIX
from ..data.sources.parts import images_per_part
from ..frames import TableFile
from ..inline import InNotebook
from ..options.scale import ScoreOptions
from ..processes import decoders
from ..scoring.score import score as score_parts
from ..scoring.scorer import BLOCK, ScoringTask
from ..storage import address
from ..unreadable import Unreadable


@final
@dataclass(frozen=True)
class ScoreResult(InNotebook, TableFile):
    """The shards that are there now.

    Args:
        out: their folder.
        images: scored by this call.
        seconds: that it took.
        parts: shards there should be.
        failed: (shard, reason) of those that could not be made.
        unreadable: what is in no shard because it could not be read, now or before.
    """

    out: Path
    images: int
    seconds: float
    parts: int
    failed: list[tuple[str, str]]
    unreadable: Unreadable

    def lines(self) -> Iterator[str]:
        """How many images and shards, where they are, and what to do next."""
        rate = f", {self.images / max(self.seconds, 1e-9):,.0f} images/s" if self.images else ""
        shards = self.parts - len(self.failed)
        yield f"{self.images:,} images scored{rate}; {shards:,} of {self.parts:,} shards are there"
        yield f"scores: {self.out}"
        yield f"next:   reteach select {self.out} --out picks.parquet"


def score(options: ScoreOptions) -> ScoreResult:
    """Write the best classes of each image as a score table, shard by shard.

    Raises:
        UserError: the folder holds shards of something else, or nothing could be read at all.
    """
    workers = options.workers if options.ray is not None else decoders(options.workers)
    images = options.images
    if not images.startswith(("hf:", PREFIX)) and address(images) is None:
        images = str(Path(images).expanduser().absolute())
    task = ScoringTask(
        options.run_folder.absolute(),
        images,
        options.out.absolute(),
        options.top,
        options.predictor,
        images_per_part(images, options.block, BLOCK),
        options.batch_size,
        workers,
        options.precision,
        options.device,
        torch.get_num_threads(),
        options.tta,
        options.channels_last,
        options.compile,
    )
    found = score_parts(task, options.ray, options.scorers)
    return ScoreResult(
        options.out, found.images, found.seconds, found.parts, found.failed, found.listed
    )
