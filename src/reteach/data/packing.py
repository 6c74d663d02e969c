"""Images as they are stored, copied into tar shards that :mod:`.sources.shards` opens."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from PIL import Image

from ..files import atomic_path
from ..labels import Rows
from .loading.decode import EXTENSIONS, ImageError
from .sources.arrays import ArraySource
from .sources.base import Source
from .sources.contents import Contents

_ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "PPM": ".ppm"}
"""What a format's files are called, where that is not its name."""


@final
@dataclass(frozen=True, eq=False)
class PackedShards:
    """How the rows of a source are spread over shards: a function of their order alone.

    Args:
        source: the images.
        rows: (N,) which of them, in the order of the shards.
        folder: of the shards.
        per_shard: images in each but the last.
    """

    source: Source
    rows: Rows
    folder: Path
    per_shard: int

    def __len__(self) -> int:
        return -(-len(self.rows) // self.per_shard)

    def path(self, number: int) -> Path:
        """Where a shard is."""
        return self.folder / f"{number:06d}.tar"

    def item(self, at: int) -> str:
        """What the image ``rows[at]`` is called where the shards are opened."""
        return f"{self.path(at // self.per_shard).stem}/{_key(at)}"

    def write(self, number: int) -> Iterator[tuple[int, str | None]]:
        """Write a shard, whole or not at all, and yield (row, None or why it is left out) of each image.

        The same images give the same bytes.
        """
        start = number * self.per_shard
        contents = Contents(self.source)
        names = self.source.items
        with (
            atomic_path(self.path(number)) as part,
            tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for at, row in enumerate(self.rows[start : start + self.per_shard].tolist(), start):
                try:
                    ending, data = _stored(self.source, contents, row)
                except ImageError as error:
                    yield row, str(error)
                    continue
                _add(tar, f"{_key(at)}{ending}", data)
                said = json.dumps({"original": names[row]}).encode()
                _add(tar, f"{_key(at)}.json", said)
                yield row, None


def _key(at: int) -> str:
    return f"{at:09d}"


def _stored(source: Source, contents: Contents, row: int) -> tuple[str, bytes]:
    """An image's ending and bytes; a PNG of its pixels where it is not stored as a file."""
    if not isinstance(source, ArraySource):
        data = contents.content(row)
        ending = _ending(data)
        if ending in EXTENSIONS:
            return ending, data
    pixels = source.read(row)
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(out, "PNG")
    return ".png", out.getvalue()


def _ending(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind = str(image.format)
    except Exception:  # whatever Pillow raises: it is no image file
        return ""
    return _ENDINGS.get(kind, f".{kind.lower()}")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
