"""Frozen features for a look at a data set: those of all of its images, or of a random sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..data.dataset import Dataset
from ..data.sources.base import ArraySource, SubsetSource, open_source
from ..data.sources.parts import RowParts
from ..features.embed import EmbeddedTotal, embed
from ..features.extractor import Extractor
from ..item_index import rows_among
from ..labels import Rows
from ..models import zoo
from ..options.shared import PRETRAINED
from .features import of_network

BLOCK = 1024
SMALL, ENLARGED = 80, 160
"""Images with a shorter side below the first are enlarged to the second only: as good, at half the cost."""
_LOOKED_AT = 20


def at_hand() -> bool:
    """Whether the usual pretrained weights are on this machine: nothing is downloaded for a look."""
    return zoo.without_download(PRETRAINED)


def input_size(data: Dataset) -> int | None:
    """Side in pixels at which the network sees the images; None: its own."""
    some = data.rows[np.linspace(0, len(data) - 1, min(_LOOKED_AT, len(data))).astype(np.int64)]
    sides = [min(data.source.read(row).shape[:2]) for row in some.tolist()]
    return ENLARGED if np.median(sides) < SMALL else None


def frozen_features(
    images: str, data: Dataset, out: Path, most: int, seed: int, workers: int
) -> tuple[Dataset, Rows, EmbeddedTotal]:
    """Labelled images as features (M), which of ``data`` they are (M,), and what was computed.

    Up to ``most`` images the table in ``out`` is the one that ``reteach embed`` writes of ``images``, and
    goes on with. Of more, features of a random sample of ``most`` labelled ones are computed.
    """
    eyes = of_network(PRETRAINED, None, True, input_size(data), "auto")
    if len(data.source) <= most:
        return _aligned(data, out, embed(eyes, images, out, block=BLOCK, workers=workers))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(data))[:most])
    return _aligned(data, out, _of_rows(eyes, data, chosen, out, workers))


def _of_rows(
    eyes: Extractor, data: Dataset, chosen: Rows, out: Path, workers: int
) -> EmbeddedTotal:
    parts = RowParts(SubsetSource(data.source, np.unique(data.rows[chosen])), BLOCK)
    return embed(eyes, parts, out, block=BLOCK, workers=workers)


def _aligned(data: Dataset, out: Path, total: EmbeddedTotal) -> tuple[Dataset, Rows, EmbeddedTotal]:
    source = open_source(out)
    assert isinstance(source, ArraySource)
    at = rows_among(data.items, source.items)
    kept = np.flatnonzero(at >= 0)
    return Dataset(source, data.labels.take(kept), at[kept]), kept, total
