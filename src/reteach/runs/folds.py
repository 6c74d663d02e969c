"""Folds of labelled images, copies of one image in one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..duplicates.find import groups
from ..labels import Single, Soft
from ..processes import decoders
from ..relabel.noise.folds import stratified_folds
from .config import Config


def split_of(data: Dataset, folds: int, config: Config) -> dict[str, NDArray[Any]]:
    """The group of copies (N,) and the fold (N,) of each image; of shares the heaviest class counts."""
    labels = data.labels.argmax() if isinstance(data.labels, Soft) else data.labels
    assert isinstance(labels, Single)
    group = groups(data.source, data.rows, decoders(config.data.workers))
    fold = stratified_folds(np.maximum(labels.index, 0), group, folds, config.training.seed)
    return {"group": group, "fold": fold}
