"""Folds of labelled images, copies of one image in one of them."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..duplicates.find import groups
from ..labels import Single
from ..processes import decoders
from ..relabel.noise.folds import stratified_folds
from .config import Config


def split_of(data: Dataset, folds: int, config: Config) -> dict[str, NDArray[Any]]:
    """The group of copies (N,) and the fold (N,) of each image."""
    assert isinstance(data.labels, Single)
    group = groups(data.source, data.rows, decoders(config.data.workers))
    fold = stratified_folds(data.labels.index, group, folds, config.training.seed)
    return {"group": group, "fold": fold}
