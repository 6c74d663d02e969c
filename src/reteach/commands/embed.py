"""``reteach embed``: the features of images, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import torch

from ..data.sources.base import PREFIX
from ..data.sources.parts import images_per_part
from ..features.embed import BLOCK
from ..features.embed import embed as embed_images
from ..frames import TableFile
from ..inline import InNotebook
from ..options.embed import EmbedOptions
from ..processes import decoders
from ..scoring.embedding import EmbeddingTask, embedded, extractor_for
from ..storage import address as store_address
from ..unreadable import Unreadable


@final
@dataclass(frozen=True)
class EmbedResult(InNotebook, TableFile):
    """A feature table.

    Args:
        out: its folder.
        images: in it.
        dimensions: D of each feature vector.
        views: V of each image.
        backbone: of timm.
        backend: what computed.
        computed: images whose features were computed now; the others were there.
        seconds: that took.
        shards: in the folder, of
        parts: there should be.
        unreadable: what is not in it because it could not be read.
    """

    out: Path
    images: int
    dimensions: int
    views: int
    backbone: str
    backend: str
    computed: int
    seconds: float
    shards: int
    parts: int
    unreadable: Unreadable

    def lines(self) -> Iterator[str]:
        """What is in the table, what is not, and how to go on."""
        rate = f", {self.computed / max(self.seconds, 1e-9):,.1f} images/s" if self.computed else ""
        views = f", {self.views} views" if self.views > 1 else ""
        yield (
            f"{self.images:,} images, {self.dimensions:,} features of {self.backbone}{views} "
            f"({self.computed:,} computed now by {self.backend}{rate})"
        )
        if self.shards < self.parts:
            yield f"{self.parts - self.shards:,} of {self.parts:,} shards are missing: run it again"
        yield f"features: {self.out}"


def embed(options: EmbedOptions) -> EmbedResult:
    """Write the features of images as a table, or go on with it.

    Raises:
        UserError: no weights, no images, or a folder with another table.
    """
    block = images_per_part(
        options.images, options.block, BLOCK
    )  # refused before weights are loaded
    found = embed_images(
        extractor_for(options),
        options.images,
        options.out,
        views=options.views,
        seed=options.seed or 0,
        block=block,
        batch_size=options.batch_size,
        backend=None if options.backend == "auto" else options.backend,
        workers=decoders(options.workers),
        elsewhere=None if options.ray is None else partial(_on_ray, options, block, options.ray),
    )
    found.listed.tell()
    return EmbedResult(
        options.out,
        found.images,
        found.dimensions,
        options.views,
        found.settings["backbone"],
        found.settings["backend"],
        found.computed,
        found.seconds,
        found.shards - len(found.failed),
        found.shards,
        found.listed,
    )


def _on_ray(
    options: EmbedOptions, block: int, address: str, settings: dict[str, Any], todo: list[int]
) -> Iterator[tuple[int, str]]:
    """Let workers of Ray write shards."""
    images = options.images
    if not images.startswith(("hf:", PREFIX)) and store_address(images) is None:
        images = str(Path(images).expanduser().absolute())
    paths = {
        name: path.absolute()
        for name in ("run_folder", "init", "out")
        if (path := getattr(options, name)) is not None
    }
    given = replace(options, images=images, **paths)
    task = EmbeddingTask(given, block, settings, options.workers, torch.get_num_threads())
    yield from embedded(task, todo, address, options.embedders)
