"""Grey thumbnails, by which pictures that look alike are found without a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..data.loading.measure import measure_images
from ..data.sources.base import Source, need_pixels
from .neighbours import Features

SIDE = 16
"""The side of the thumbnails in pixels."""
ALIKE = 0.1
"""Distance of two thumbnails up to which pictures are taken for copies: what it finds and what it takes for
a copy by mistake is in ``docs/results-advise.md``."""
DEFINITION = f"equal files; grey {SIDE} x {SIDE} within {ALIKE:g}"
"""What a copy is, for the record of what was made by it."""


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 1 or 3) uint8 -> (256,) grey thumbnail of mean 0 and length 1; flat images give zeros.

    Brightness and contrast drop out, size and compression nearly do. The filter's triangle overlaps the
    neighbouring pixels: a box would cut small images of other sizes in other places.
    """
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("L")
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(small, np.float32).ravel()
    grey = grey - grey.mean()
    length = np.linalg.norm(grey)
    return np.asarray(grey / length if length > 1 else np.zeros_like(grey), np.float32)


def thumbnails(source: Source, broken: dict[int, str], workers: int | None = None) -> Features:
    """(N, D) thumbnails of mean 0 and length 1, zeros where an image is flat or cannot be read.

    Args:
        broken: collects row -> reason of images that cannot be read.

    Raises:
        UserError: these are features.
    """
    need_pixels(source, "a search for copies by thumbnails")
    out = np.zeros((len(source), SIDE * SIDE), np.float32)
    broken |= measure_images("thumbnails", source, thumbnail, out, 4 * SIDE, workers)
    return out
