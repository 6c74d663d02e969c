"""``reteach noise estimate``: the noise matrix behind given labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np

from ..files import atomic_write
from ..labels import Single
from ..options.noise import EstimateOptions
from ..relabel.noise import transition
from ..relabel.noise.transition import Matrix
from ..scores.classes import read_classes
from ..scores.table import dense_scores
from ..spreadsheet import to_csv
from ..tables import read_labels

MOST = 5
"""Confusions that are named."""


@final
@dataclass(frozen=True)
class NoiseEstimate:
    """What the noise seems to be.

    Args:
        out: the matrix as a CSV file.
        share: of the labels that seem to be wrong.
        unlabelled: images without a label, which were left out.
        images: images in the table.
        classes: C class names.
        matrix: (C, C) shares, true classes in rows, given labels in columns.
    """

    out: Path
    share: float
    unlabelled: int
    images: int
    classes: tuple[str, ...] = field(metadata={"json": False})
    matrix: Matrix = field(metadata={"json": False})

    def lines(self) -> Iterator[str]:
        """The share, and the most frequent confusions."""
        if self.unlabelled:
            yield f"{self.unlabelled:,} of {self.images:,} images have no label and are left out"
        yield f"{self.out}: about {self.share:.1%} of the labels seem to be wrong"
        off = np.where(np.eye(len(self.classes), dtype=bool), 0, self.matrix)
        for place in np.argsort(-off, axis=None, kind="stable")[:MOST].tolist():
            i, j = divmod(place, len(self.classes))
            if off[i, j] > 0:
                yield f"  {off[i, j]:6.1%} of {self.classes[i]!r} are labelled {self.classes[j]!r}"


def noise_estimate(options: EstimateOptions) -> NoiseEstimate:
    """Estimate the noise matrix, from scores of models that did not see the items.

    Raises:
        UserError: no such tables, or no item with scores of all classes.
    """
    listed = None if options.classes is None else read_classes(options.classes)
    table = read_labels(options.labels, kind="single", classes=listed)
    assert isinstance(table.labels, Single)
    scores = dense_scores(options.scores, table.items, table.labels.classes)
    matrix = transition.estimated(table.labels, scores)
    classes = table.labels.classes
    rows = zip(classes, matrix.tolist(), strict=True)
    atomic_write(options.out, to_csv(["true", *classes], ([name, *row] for name, row in rows)))
    return NoiseEstimate(
        options.out,
        transition.estimated_share(table.labels, scores),
        len(table.items) - int(table.labels.known().sum()),
        len(table.items),
        classes,
        matrix,
    )
