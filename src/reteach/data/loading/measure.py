"""Numbers measured of the pixels of each image of a source, in worker processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...processes import WorkerFailure, each, readers
from ...progress import progress
from ..sources.base import Source, shrunk
from ..sources.videos import still
from .decode import ImageError

Measure = Callable[[NDArray[np.uint8]], ArrayLike]
"""(H, W, 1 or 3) uint8 -> a row of numbers; can be pickled."""


def measure_images(
    title: str,
    source: Source,
    measure: Measure,
    out: NDArray[Any],
    least: int,
    workers: int | None,
) -> dict[int, str]:
    """Fill the rows of ``out`` (N, D) with what is measured of each image, of a video's middle frame.

    Args:
        title: of the progress.
        least: the shorter side in pixels below which images are not decoded reduced.
        workers: processes; None: as many as the number of images is worth.

    Returns:
        row -> reason of images that cannot be read; their rows stay as they are.
    """
    broken = {}
    with progress(title, len(source)) as on_progress:
        work = _OfRow(shrunk(source, least), measure)
        rows = each(work, range(len(source)), readers(workers, len(source)))
        for done, (row, found) in enumerate(rows, 1):
            if isinstance(found, str | WorkerFailure):
                broken[row] = found if isinstance(found, str) else found.reason
            else:
                out[row] = found
            on_progress(done)
    return broken


@final
@dataclass(frozen=True, eq=False)
class _OfRow:
    """row -> what is measured of its image, or why it cannot be read."""

    source: Source
    measure: Measure

    def __call__(self, row: int) -> ArrayLike:
        try:
            return self.measure(still(self.source.read(row)))
        except ImageError as error:
            return str(error)
