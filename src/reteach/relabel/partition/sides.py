"""The sides that a student is taught by: each is a partition of the classes, with a teacher per subset.

CPSD has the sides *co* and *dis*; its ablations have one of them, its controls random ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from ... import rng
from ...labels import LabelSet
from ...progress import progress
from .class_subsets import How, Subsets, partition, random_subsets
from .cooccurrence import Cooccurrence, Side
from .cut import ROUNDS, Labels
from .decomposition import read_subsets

Sides = Literal["both", "co", "dis", "random", "two-random"]
_NAMES: dict[Sides, tuple[str, ...]] = {"both": ("co", "dis"), "two-random": ("random", "again")}


def side_names(sides: Sides) -> tuple[str, ...]:
    """The names of the sides that are meant."""
    return _NAMES.get(sides, (sides,))


def partition_sides(
    labels: LabelSet, sides: Sides, k: int, *, tau: float, how: How, file: Path | None, seed: int
) -> dict[str, Labels]:
    """Side -> (C,) the subset of each class.

    Args:
        labels: of the training images, whose classes occur together or not.
        k: subsets of a side.
        tau, how: of the cut; see :func:`.class_subsets.partition`.
        file: a partition file with the subsets of the sides that stand in it.
        seed: of random sides.
    """
    place = {name: i for i, name in enumerate(labels.classes)}
    read = {} if file is None else read_subsets(file, labels.classes)
    if read:
        k = len(next(iter(read.values())))
    out = {}
    for number, name in enumerate(side_names(sides)):
        if name in read:
            subsets = read[name]
        elif name == "co" or name == "dis":
            subsets = _cut(labels, k, "co" if name == "co" else "dis", tau, how)
        else:
            subsets = random_subsets(labels.classes, k, rng.fold(seed, "subsets", number))
        out[name] = np.empty(len(labels.classes), np.int64)
        for t, subset in enumerate(subsets):
            out[name][[place[member] for member in subset]] = t
    return out


def _cut(labels: LabelSet, k: int, side: Side, tau: float, how: How) -> Subsets:
    seen = Cooccurrence.of(labels, "the training set")
    with progress(f"{k} subsets, {side}-occurrence", ROUNDS) as on_progress:
        return partition(seen, k, side, tau=tau, how=how, on_progress=on_progress).subsets


def named_sides(
    found: Mapping[str, Labels], sides: Sides, classes: tuple[str, ...]
) -> dict[str, Subsets]:
    """The subsets of each side as class names, out of what :func:`partition_sides` found."""
    return {
        name: tuple(
            tuple(classes[c] for c in np.flatnonzero(found[name] == t))
            for t in range(int(found[name].max()) + 1)
        )
        for name in side_names(sides)
    }
