"""``reteach embed``: the features of images, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ..data.sources.parts import images_per_part
from ..features.embed import BLOCK, resized
from ..features.embed import embed as embed_images
from ..features.extractor import Extractor
from ..options.embed import EmbedOptions
from ..options.shared import PRETRAINED
from ..processes import decoders
from ..runs.features import of_network, of_run
from ..unreadable import Unreadable


@final
@dataclass(frozen=True)
class EmbedResult:
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
        _eyes(options),
        options.images,
        options.out,
        views=options.views,
        seed=options.seed or 0,
        block=block,
        batch_size=options.batch_size,
        backend=None if options.backend == "auto" else options.backend,
        workers=decoders(options.workers),
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


def _eyes(options: EmbedOptions) -> Extractor:
    """The network whose features they are."""
    if options.run_folder is not None:
        eyes = of_run(options.run_folder, options.device)
    else:
        name = PRETRAINED if options.model == "auto" else options.model
        size = options.image_size
        eyes = of_network(name, options.init, options.pretrained, size, options.device)
    return resized(eyes, options.resize)
