"""``reteach noise``: wrong labels on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from PIL import Image

from ..data.loading.decode import ImageError
from ..data.sources.base import need_pixels, open_source
from ..errors import UserError
from ..frames import TableFile
from ..inline import InNotebook
from ..labels import Single
from ..options.noise import NoiseOptions
from ..progress import progress
from ..relabel.noise import transition
from ..relabel.noise.transition import Matrix
from ..scores.classes import read_classes
from ..scores.table import dense_scores
from ..spreadsheet import csv_table, unguard
from ..tables import LabelTable, read_labels, write_labels
from ..unreadable import Unreadable, unreadable


@final
@dataclass(frozen=True)
class NoiseResult(InNotebook, TableFile):
    """The noisy table.

    Args:
        out: the label table.
        wrong: how many labels are wrong now.
        labelled: images that have a label.
        images: images in the table.
        unreadable: images that could not be read; their labels stay.
    """

    out: Path
    wrong: int
    labelled: int
    images: int
    unreadable: Unreadable

    def lines(self) -> Iterator[str]:
        """How many labels are wrong, and how many images have none."""
        share = self.wrong / max(self.labelled, 1)
        yield f"{self.out}: {self.wrong} of {self.labelled} labels are wrong ({share:.1%})"
        if left := self.images - self.labelled:
            yield f"{left:,} of {self.images:,} images have no label, and get none"


def noise(options: NoiseOptions) -> NoiseResult:
    """Make some labels of a table wrong.

    Raises:
        UserError: no such table, matrix or scores, or settings that do not go together.
    """
    classes = None if options.classes is None else read_classes(options.classes)
    table = read_labels(options.labels, kind="single", classes=classes)
    assert isinstance(table.labels, Single)
    broken: dict[str, str] = {}
    noisy = _noisy(options, table, table.labels, broken)
    source = f"{_words(options)}, seed {options.seed}"
    source += f"; of {table.source}" if table.source else ""
    write_labels(options.out, LabelTable(table.items, noisy, source))
    wrong = int(np.count_nonzero(noisy.index != table.labels.index))
    known = int(table.labels.known().sum())
    lost = unreadable(options.out, broken)
    return NoiseResult(options.out, wrong, known, len(table.items), lost)


def _words(options: NoiseOptions) -> str:
    if options.made != "matrix":
        return f"{options.made} noise, rate {options.share:g}"
    return f"noise by {'an estimate' if options.scores else (options.matrix or Path()).name}"


def _noisy(
    options: NoiseOptions, table: LabelTable, labels: Single, broken: dict[str, str]
) -> Single:
    """The labels with errors; ``broken`` collects item -> reason of images that cannot be read."""
    if options.made == "instance":
        assert options.images is not None
        looks = _thumbnails(options.images, table, broken)
        seen = np.flatnonzero([item not in broken for item in table.items])
        if not len(seen):
            raise UserError(f"none of the images of {options.images} can be read")
        index = labels.index.copy()
        index[seen] = transition.by_instance(
            labels.take(seen), looks[seen], options.share, options.seed
        ).index
        return Single(index, labels.classes)
    what = "noise matrix" if options.matrix is None else str(options.matrix)
    return transition.by_matrix(labels, _matrix(options, table, labels), options.seed, what)


def _matrix(options: NoiseOptions, table: LabelTable, labels: Single) -> Matrix:
    count = labels.num_classes
    if options.made == "pair":
        return transition.pair(count, options.share)
    if options.made != "matrix":
        return transition.symmetric(count, options.share, keep=options.made == "symmetric-keep")
    if options.matrix is not None:
        return _read_matrix(options.matrix, labels.classes)
    assert options.scores is not None
    return transition.estimated(labels, dense_scores(options.scores, table.items, labels.classes))


def _read_matrix(file: Path, classes: tuple[str, ...]) -> Matrix:
    """Shares by class name, in the order of ``classes``."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            header, rows = csv_table(file, lines)
            values: dict[str, dict[str, float]] = {}
            for number, (name, *shares) in rows:
                if (true := unguard(name)) in values:
                    raise UserError(f"{file}: line {number}: a second row of class {true!r}")
                values[true] = dict(zip(header[1:], map(float, shares), strict=True))
        return np.array([[values[true][label] for label in classes] for true in classes])
    except KeyError as error:
        raise UserError(f"{file}: class {error} of the labels is not in the matrix") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{file} is not a matrix with class names around it ({reason})") from None


def _thumbnails(images: str, table: LabelTable, broken: dict[str, str]) -> Matrix:
    """(N, 192) colours of 8 × 8 pixels of each item's image; 0 where it cannot be read."""
    source = open_source(images, table.items)
    need_pixels(source, "--kind instance")
    found = np.zeros((len(table.items), 192))
    with progress("reading images", len(source)) as on_progress:
        for row in range(len(source)):
            try:
                pixels = source.read(row)
            except ImageError as error:
                broken[source.items[row]] = str(error)
                continue
            rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
            small = Image.fromarray(np.ascontiguousarray(rgb)).resize((8, 8), Image.Resampling.BOX)
            found[row] = np.asarray(small, np.float64).ravel()
            on_progress(row + 1)
    return found
