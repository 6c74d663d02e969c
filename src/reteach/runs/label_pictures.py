"""The images that ``reteach advise`` shows: doubted, confused, of several classes, odd."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..analysis.facts import Facts
from ..analysis.image_issues import ImageIssue
from ..data.dataset import Dataset
from ..labels import Single
from ..relabel.noise import clean
from ..report.pages.advice import Doubted
from .gallery import data_url

PICTURES = 12
"""Of the images that are doubted most."""
PAIRS = 4
"""Of the confused classes, of images of several classes, and of each way of being odd."""


def most_doubted(data: Dataset, held: NDArray[np.float32] | None) -> list[Doubted]:
    """Images whose label the held-out models doubt most."""
    if held is None:
        return []
    assert isinstance(data.labels, Single)
    gap = clean.suspicion(np.nan_to_num(held, nan=-1.0), data.labels.index)
    rows = np.argsort(-gap, kind="stable")[:PICTURES]
    return _shown(data, held, rows[gap[rows] > 0])


def of_several_classes(data: Dataset, held: NDArray[np.float32] | None) -> list[Doubted]:
    """Images whose label the models confirm beside another class: what speaks for several of them."""
    if held is None:
        return []
    assert isinstance(data.labels, Single)
    both = np.nan_to_num(held, nan=-1.0)
    at = np.arange(len(both))
    own = both[at, data.labels.index].copy()
    both[at, data.labels.index] = -1
    other = np.minimum(own, both.max(1))
    rows = np.argsort(-other, kind="stable")[:PAIRS]
    return _shown(data, np.asarray(both, np.float32), rows[other[rows] > 0])


def confused(facts: Facts, data: Dataset, held: NDArray[np.float32] | None) -> list[Doubted]:
    """Images of the two classes that are confused most which the models take for the other one."""
    if held is None or not facts.confused:
        return []
    assert isinstance(data.labels, Single)
    seen, given = np.nan_to_num(held, nan=-1.0), data.labels.index
    pair = [data.classes.index(name) for name in (facts.confused[0].one, facts.confused[0].other)]
    choice, gap = seen.argmax(1), clean.suspicion(seen, given)
    sides = [np.flatnonzero((given == a) & (choice == b)) for a, b in (pair, pair[::-1])]
    each = [rows[np.argsort(-gap[rows], kind="stable")][: PAIRS // 2] for rows in sides]
    return _shown(data, held, np.concatenate(each))


def oddest(data: Dataset, issue: ImageIssue) -> list[Doubted]:
    """The oddest images under their labels."""
    shown = data.subset(issue.rows[:PAIRS])
    return [
        (data_url(data.source.read(row)), item, ", ".join(names), "")
        for row, item, names in zip(
            shown.rows.tolist(), shown.items, shown.labels.names(), strict=True
        )
    ]


def _shown(data: Dataset, held: NDArray[np.float32], rows: NDArray[np.int64]) -> list[Doubted]:
    assert isinstance(data.labels, Single)
    return [
        (
            data_url(data.source.read(int(data.rows[row]))),
            data.source.items[int(data.rows[row])],
            data.classes[data.labels.index[row]],
            data.classes[int(held[row].argmax())],
        )
        for row in rows.tolist()
    ]
