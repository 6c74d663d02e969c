"""Grey thumbnails of a source's images, by which pictures that look alike are found without a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..data.decode import ImageError
from ..data.parallel import Lost, cores, each
from ..data.sources import Source, shrunk
from ..data.videos import still
from ..progress import progress
from ..relabel.dedup import SIDE, thumbnail
from ..relabel.neighbours import Features


def thumbnails(source: Source, broken: dict[int, str], workers: int | None = None) -> Features:
    """(N, D) thumbnails of mean 0 and length 1, zeros where an image is flat or cannot be read.

    Args:
        broken: collects row -> reason of images that cannot be read.
    """
    out = np.zeros((len(source), SIDE * SIDE), np.float32)
    crew = min(cores(), len(source) // 500) if workers is None else workers
    with progress("thumbnails", len(source)) as tell:
        small = _Thumbnail(shrunk(source, 4 * SIDE))
        for done, (row, found) in enumerate(each(small, range(len(source)), crew), 1):
            if isinstance(found, str | Lost):
                broken[row] = found if isinstance(found, str) else found.reason
            else:
                out[row] = found
            tell(done)
    return out


@final
@dataclass(frozen=True, eq=False)
class _Thumbnail:
    """row -> its thumbnail, or why there is none."""

    source: Source

    def __call__(self, row: int) -> NDArray[np.float32] | str:
        try:
            return thumbnail(still(self.source.read(row)))
        except ImageError as error:
            return str(error)
