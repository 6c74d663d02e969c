"""A faster way to the pixels of a training: from memory, or large JPEGs at reduced size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..data.dataset import Dataset
from ..data.loading.cache import CachedSource
from ..data.loading.resident import ResidentSource
from ..data.sources.base import ArraySource, shrunk
from ..errors import UserError
from ..options import shared as options
from ..progress import progress


def decoded(
    dataset: Dataset,
    image_size: int | None,
    data: options.Data,
    device: torch.device,
    interpolation: options.Interpolation = "bilinear",
) -> Dataset:
    """The data set with a faster way to its pixels: from memory, or large JPEGs at reduced size.

    Photos are read at no less than twice the side of the input, so that crops keep their detail.
    """
    if data.resident:
        if not isinstance(dataset.source, ArraySource):
            raise UserError(
                "--resident keeps arrays on the device: give --images as .npz or cifar:…"
            )
        if image_size is not None:
            raise UserError("--resident keeps images as they are: leave out --image-size")
        return replace(dataset, source=ResidentSource(dataset.source, device))
    if isinstance(dataset.source, ArraySource) or image_size is None:
        return dataset
    if not data.cache:
        return replace(dataset, source=shrunk(dataset.source, 2 * image_size))
    rows = np.unique(dataset.rows)
    with progress("decoding into memory", len(rows)) as on_progress:
        source = CachedSource(
            dataset.source,
            image_size * 256 // 224,
            interpolation=interpolation,
            rows=rows,
            on_progress=on_progress,
        )
    return replace(dataset, source=source)
