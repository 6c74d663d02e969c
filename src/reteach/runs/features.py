"""Features of images from a network, for comparing the images with each other."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from torch.nn import functional as F

from ..data.dataset import Dataset
from ..data.sources.base import Source
from ..duplicates.neighbours import Features
from ..errors import UserError
from ..features.extractor import Extractor, extractor_of
from ..files import make_folder
from ..item_index import rows_among
from ..models.features import pooled
from ..progress import progress
from .checkpoint import choose_device, load_models

IN_MEMORY = 2**30
"""Bytes of features above which they lie in a temporary file."""


def of_run(folder: Path, device: str) -> Extractor:
    """The first model of a finished run."""
    saved = load_models(folder, device)
    words = f"the features of {folder.name}'s model"
    return Extractor(saved.predictor.models[0], saved.seen, words)


def of_network(
    name: str, init: Path | None, pretrained: bool, image_size: int | None, device: str
) -> Extractor:
    """An architecture of timm with published weights, or those of a file.

    Raises:
        UserError: neither, or whatever :func:`reteach.models.zoo.create` refuses.
    """
    return extractor_of(name, init, pretrained, image_size, choose_device(device))


def extract(
    extractor: Extractor,
    source: Source,
    batch_size: int,
    workers: int,
    beside: Path,
    broken: dict[int, str],
) -> Features:
    """(N, D) features of length 1 of all images of a source.

    Args:
        beside: a folder for a temporary file, if they take more than a gigabyte.
        broken: collects row -> reason of images that cannot be read; their features are 0.

    Raises:
        UserError: none can be read, or a feature is not a finite number.
    """
    scan = extractor.seen.scan(Dataset.unlabeled(source, ("",)), batch_size, workers)
    of = pooled(extractor.model)
    out: Features | None = None
    with progress("features", len(source)) as on_progress:
        for rows, x in scan:
            found = F.normalize(of(x)).cpu().numpy()
            if not np.isfinite(found).all():
                row = int(rows[np.flatnonzero(~np.isfinite(found).all(1))[0]])
                raise UserError(f"the features of {source.items[row]!r} are not finite numbers")
            out = _room(len(source), found.shape[1], beside) if out is None else out
            out[rows] = found
            on_progress(int(rows[-1]) + 1)
    if out is None:
        raise UserError(f"none of the images can be read: {next(iter(scan.broken.values()))}")
    if scan.broken:
        rows = rows_among(scan.broken, source.items).tolist()
        broken.update(zip(rows, scan.broken.values(), strict=True))
    return out


def _room(n: int, width: int, beside: Path) -> Features:
    """(N, D) zeros, in memory or in a file that goes with the process."""
    if n * width * 4 <= IN_MEMORY:
        return np.zeros((n, width), np.float32)
    make_folder(beside)
    with tempfile.TemporaryFile(dir=beside) as file:
        return np.memmap(file, np.float32, "w+", shape=(n, width))
