"""A thumbnail and a hash of each image, by which copies are found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.dataset import Dataset
from ..data.decode import ImageError
from ..data.parallel import Lost, each
from ..data.sources import Source, shrunk
from ..data.videos import still
from ..progress import progress
from ..relabel.folds import SIDE


def fingerprints(dataset: Dataset, workers: int) -> tuple[NDArray[np.uint8], list[bytes]]:
    """(N, SIDE, SIDE, channels) thumbnails, and N hashes of the decoded pixels.

    Equal files have equal hashes. An image that cannot be read is a copy of no other: its hash is its
    item id, and its thumbnail is noise.
    """
    work = _Fingerprint(shrunk(dataset.source, 4 * SIDE))
    rows = np.unique(dataset.rows).tolist()
    found: dict[int, tuple[NDArray[np.uint8], bytes]] = {}
    with progress("looking for copies", len(rows)) as show:
        for done, (row, result) in enumerate(each(work, rows, workers), 1):
            if result is not None and not isinstance(result, Lost):
                found[row] = result
            show(done)
    channels = next((pixels.shape[-1] for pixels, _ in found.values()), 3)
    generator = np.random.default_rng(0)
    for row in set(rows) - found.keys():
        noise = generator.integers(0, 256, (SIDE, SIDE, channels), np.uint8)
        found[row] = noise, dataset.source.items[row].encode("utf-8", "surrogatepass")
    each_row = [found[row] for row in dataset.rows.tolist()]
    return np.stack([pixels for pixels, _ in each_row]), [digest for _, digest in each_row]


@final
@dataclass(frozen=True, eq=False)
class _Fingerprint:
    """row -> (thumbnail, hash), or None for an image that cannot be read."""

    source: Source

    def __call__(self, row: int) -> tuple[NDArray[np.uint8], bytes] | None:
        try:
            pixels = self.source.read(row)
        except ImageError:
            return None
        digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16)
        pixels = still(pixels)
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
        return small.reshape(SIDE, SIDE, pixels.shape[-1]), digest.digest()
