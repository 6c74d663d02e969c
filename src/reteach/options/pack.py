"""Options of ``reteach pack``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..files import local
from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked


@dataclass(frozen=True)
class PackOptions(Checked):
    """Copy images into tar shards of their own, so that a training opens nothing else.

    The same command goes on where it was stopped.
    """

    images: Annotated[str, ImagesExist()]
    """Images: tar shards ('s/{000000..009999}.tar'), a folder, an .npz file, hf:NAME."""
    items: Annotated[Path | None, Exists()] = None
    """Only the images that this table or list names: picks of reteach select, a label table, or a .txt list.
    The table itself is written beside the shards, with the items' new names. By default all images."""
    out: Path = Path("packed")
    """Folder of the shards (000000.tar …), of items.parquet (item, original) and of the table of --items."""
    per_shard: Annotated[int, AtLeast(1)] = 10_000
    """Images per shard."""
    shuffle: bool = False
    """Copy in a random order, the same each time, so that each shard is a sample of all images: of shards of
    one class each, --shuffle-shards mixes few. Images in shards at a store are a request each then."""

    def __post_init__(self) -> None:
        super().__post_init__()
        local(self.out, "--out")
