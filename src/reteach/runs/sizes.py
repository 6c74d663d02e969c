"""The side of a network's input where --image-size is left open: from the pixels and the network.

A folder, tar shards and an array with the same pixels get the same size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image

from ..data.dataset import Dataset
from ..data.loading.decode import ImageError
from ..data.sources.base import ArraySource, Source, features_of, is_video
from ..data.sources.folders import FolderSource
from ..models import zoo
from ..options.shared import Model

SMALL = 64
"""Images of one size up to this are small: data sets like CIFAR, which are trained on as they are."""
ENLARGED = 160
"""The side to which small images are brought for weights of larger ones (the features of CIFAR-10 in
docs/photos.md)."""
LOOKED_AT = 32


@final
@dataclass(frozen=True)
class Sizes:
    """What a sample of the images measures.

    Args:
        shorter: the median of the shorter sides in pixels.
        small: the side of square images that all have one size, of :data:`SMALL` pixels or less.
    """

    shorter: int
    small: int | None


def sizes_of(dataset: Dataset) -> Sizes | None:
    """The sizes of some of the images, spread over the data set; None: these are no still images, or none
    can be read."""
    source = dataset.source
    if features_of(source) is not None or is_video(source):
        return None
    at = np.unique(np.linspace(0, len(dataset) - 1, LOOKED_AT).astype(int))
    found = [size for row in dataset.rows[at].tolist() if (size := _size(source, row)) is not None]
    if not found:
        return None
    uniform = len(set(found)) == 1 and found[0][0] == found[0][1] <= SMALL
    return Sizes(int(np.median([min(size) for size in found])), found[0][0] if uniform else None)


def _size(source: Source, row: int) -> tuple[int, int] | None:
    """(H, W) or (W, H); of a file from its header alone."""
    try:
        if isinstance(source, FolderSource):
            with Image.open(source.path(row)) as image:
                return image.size
        height, width = source.read(row).shape[:2]
        return height, width
    except (ImageError, OSError, ValueError, Image.DecompressionBombError):
        return None


def chosen_size(
    model: Model, dataset: Dataset, sizes: Sizes | None, *, fine_tuned: bool, resident: bool
) -> int | None:
    """The side of the input; None: the images keep theirs.

    Small images from scratch are taken as they are; for weights of larger images they are enlarged. All
    other photos get the size that the network is meant for, and arrays keep theirs unless there are weights.
    """
    array = isinstance(dataset.source, ArraySource)
    if model.image_size is not None or sizes is None or resident:
        own = None if array else zoo.default_image_size(model.model)
        return own if model.image_size is None else model.image_size
    usual = zoo.default_image_size(model.model)
    if not fine_tuned or usual <= SMALL:
        return None if array else (sizes.small or usual)
    if sizes.small is None or zoo.fixed_size(model.model):
        return usual
    return min(usual, ENLARGED)


def misfit(model: Model, side: int | None, sizes: Sizes | None, *, fine_tuned: bool) -> str | None:
    """What is wrong with the side of the input beside the images and the network, and the mend; or None."""
    if sizes is None or side is None:
        return None
    shorter, usual = sizes.shorter, zoo.default_image_size(model.model)
    if side < SMALL * 2 and shorter >= 4 * side:
        other = f"--image-size {min(224, shorter)}"
        if usual <= SMALL:
            other += " and a network for photos (--model resnet18, or --pretrained)"
        return (
            f"photos of {shorter} pixels are shrunk to {side} for {model.model}, which loses most of what "
            f"they show: {other} keeps it"
        )
    if fine_tuned and 2 * side < usual and not usual <= SMALL:
        return (
            f"the weights of {model.model} are of images of {usual} pixels and it sees {side}, where they "
            f"tell little; --image-size {min(usual, ENLARGED)} is closer"
        )
    if side > (5 if fine_tuned else 2) * shorter:
        better = min(usual, ENLARGED) if fine_tuned else shorter
        return (
            f"images of {shorter} pixels are blown up to {side}, {(side / shorter) ** 2:.0f} times the "
            f"pixels and no more detail: --image-size {better} is faster"
        )
    return None
