"""Features on Ray: what a worker does for ``reteach embed``, as :class:`.scorer.Scorer` does for ``score``.

A worker makes the shards that the command gives it with the settings of the table, backend and batch size
among them, and refuses where its network is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from ..data.sources.feature_table import FeatureShard, first_difference, write_shard
from ..data.sources.parts import Failed, open_parts
from ..errors import UserError
from ..features.embed import Embedder, input_of, making, resized
from ..features.extractor import Extractor
from ..models.forward import forward
from ..options.embed import EmbedOptions
from ..options.shared import PRETRAINED
from ..runs.features import of_network, of_run
from .ray import shared_out
from .scorer import ScoringReport, Step


@final
@dataclass(frozen=True)
class EmbeddingTask:
    """What is to be embedded and how; it travels to other processes and machines.

    Args:
        options: of the command, their paths absolute.
        block: images per shard where they are not in tar files.
        settings: of the table.
        workers: processes that decode, for each process that embeds; None: as many as there are cores for.
        threads: of the forward pass.
    """

    options: EmbedOptions
    block: int
    settings: dict[str, Any]
    workers: int | None
    threads: int

    @property
    def device(self) -> str:
        """Where the networks are to be."""
        return self.options.device


class EmbeddingWorker:
    """A network that was loaded once and writes the shards of parts."""

    def __init__(self, task: EmbeddingTask) -> None:
        torch.set_num_threads(task.threads)
        options, settings = task.options, task.settings
        eyes = extractor_for(options)
        made = making(eyes)
        mine = {key: settings[key] for key in made}
        if mine != made:
            raise UserError(
                f"a worker has another network than the command ({first_difference(mine, made)})"
            )
        parts = open_parts(options.images, task.block)
        of = forward(eyes.model, input_of(eyes, parts), settings["backend"])
        self.embedder = Embedder(eyes, of, parts, settings, task.workers or 0)
        self.out = options.out

    def score(self, numbers: Sequence[int]) -> Iterator[Step | ScoringReport]:
        """Write the shards of these parts one after the other; each is on disk when its report comes."""
        for number, what in self.embedder.shards(numbers):
            if isinstance(what, Failed):
                yield ScoringReport(number, failed=what.reason)
            elif isinstance(what, FeatureShard):
                write_shard(self.out / f"{self.embedder.parts.names[number]}.parquet", what)
                yield ScoringReport(number)


def extractor_for(options: EmbedOptions) -> Extractor:
    """The network whose features they are."""
    if options.run_folder is not None:
        eyes = of_run(options.run_folder, options.device)
    else:
        name = PRETRAINED if options.model == "auto" else options.model
        size = options.image_size
        eyes = of_network(name, options.init, options.pretrained, size, options.device)
    return resized(eyes, options.resize)


def embedded(
    task: EmbeddingTask, numbers: Sequence[int], address: str, workers: int | None
) -> Iterator[tuple[int, str]]:
    """Each part once its shard is written by a worker, and why it is not ("": it is)."""
    for event in shared_out(EmbeddingWorker, task, numbers, address, workers):
        if isinstance(event, ScoringReport):
            yield event.part, event.failed
