"""``reteach score``: what a run's model says of very many images."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from ..errors import UserError
from ..files import local
from .ranges import AtLeast, Checked


@dataclass(frozen=True)
class ScoreOptions(Checked):
    """Write the best classes of each of very many images as a score table, shard by shard.

    The same command goes on where it was stopped.
    """

    run_folder: Positional[Path]
    """The run whose model scores: the teacher."""
    images: str
    """Images: tar shards ('s/{000000..009999}.tar'), a folder, an .npz file, hf:NAME."""
    out: Path = Path("scores")
    """Folder of the shards, one per tar file or per --block images: item, class, score, logit."""
    top: Annotated[int, AtLeast(1)] = 10
    """P: only so many classes of each image are kept."""
    predictor: str | None = None
    """Which of the run's models, e.g. teacher; by default the first."""
    block: Annotated[int, AtLeast(1)] = 2**14
    """Images per shard where they are not in tar files: what a crash may cost."""
    batch_size: Annotated[int, AtLeast(1)] = 256
    """Images at a time."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode, for each process that scores; by default one per core, at most 8 (with
    --ray: 1)."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    ray: str | None = None
    """Share the work on Ray: local (this machine), auto (the cluster it belongs to), or an address.
    All machines must see the files under the same paths."""
    scorers: Annotated[int | None, AtLeast(1)] = None
    """With --ray: processes that score; by default one per GPU, or as many as there are cores for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        local(self.out, "--out")
        if self.scorers is not None and self.ray is None:
            raise UserError("--scorers go with --ray: in this process there is one")

    def run(self) -> None:
        """Write the shards and say what they are."""
        import torch

        from ..processes import decoders
        from ..scoring.score import score
        from ..scoring.scorer import Task

        workers = 1 if self.ray is not None and self.workers is None else decoders(self.workers)
        images = self.images
        if not images.startswith("hf:"):
            images = str(Path(images).expanduser().absolute())
        task = Task(
            self.run_folder.absolute(),
            images,
            self.out.absolute(),
            self.top,
            self.predictor,
            self.block,
            self.batch_size,
            workers,
            self.precision,
            self.device,
            torch.get_num_threads(),
        )
        found = score(task, self.ray, self.scorers)
        shards = found.parts - len(found.failed)
        rate = f", {found.images / max(found.seconds, 1e-9):,.0f} images/s" if found.images else ""
        print(
            f"{found.images:,} images scored{rate}; {shards:,} of {found.parts:,} shards are there"
        )
        if found.failed or found.unreadable:
            many = len(found.failed) + len(found.unreadable)
            print(
                f"warning: {many:,} could not be read: {self.out}/unreadable.csv", file=sys.stderr
            )
        print(f"scores: {self.out}")
        print(f"next:   reteach select {self.out} --out picks.parquet")
