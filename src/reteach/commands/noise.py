"""``reteach noise``: wrong labels on purpose."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from PIL import Image

from ..data.sources.base import need_pixels, open_source
from ..errors import UserError
from ..labels import Single
from ..options.noise import NoiseOptions
from ..progress import progress
from ..relabel.noise import transition
from ..relabel.noise.transition import Matrix
from ..scores.classes import read_classes
from ..scores.table import dense_scores
from ..spreadsheet import unguard
from ..tables import LabelTable, read_labels, write_labels


@final
@dataclass(frozen=True)
class NoiseResult:
    """The noisy table.

    Args:
        out: the label table.
        wrong: how many labels are wrong now.
        labelled: images that have a label.
        images: images in the table.
    """

    out: Path
    wrong: int
    labelled: int
    images: int

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
    noisy = _noisy(options, table, table.labels)
    source = f"{_words(options)}, seed {options.seed}"
    source += f"; of {table.source}" if table.source else ""
    write_labels(options.out, LabelTable(table.items, noisy, source))
    wrong = int(np.count_nonzero(noisy.index != table.labels.index))
    return NoiseResult(options.out, wrong, int(table.labels.known().sum()), len(table.items))


def _words(options: NoiseOptions) -> str:
    if options.kind != "matrix":
        return f"{options.kind} noise, rate {options.rate:g}"
    return f"noise by {'an estimate' if options.scores else (options.matrix or Path()).name}"


def _noisy(options: NoiseOptions, table: LabelTable, labels: Single) -> Single:
    if options.kind == "instance":
        if options.images is None:
            raise UserError("--kind instance looks at the images: add --images")
        looks = _thumbnails(options.images, table)
        return transition.by_instance(labels, looks, options.rate, options.seed)
    return transition.by_matrix(labels, _matrix(options, table, labels), options.seed)


def _matrix(options: NoiseOptions, table: LabelTable, labels: Single) -> Matrix:
    count = labels.num_classes
    if options.kind == "pair":
        return transition.pair(count, options.rate)
    if options.kind != "matrix":
        return transition.symmetric(count, options.rate, keep=options.kind == "symmetric-keep")
    if (options.matrix is None) == (options.scores is None):
        raise UserError("--kind matrix needs --matrix FILE.csv, or --scores to estimate one from")
    if options.matrix is not None:
        return _read_matrix(options.matrix, labels.classes)
    assert options.scores is not None
    return transition.estimated(labels, dense_scores(options.scores, table.items, labels.classes))


def _read_matrix(file: Path, classes: tuple[str, ...]) -> Matrix:
    """Shares by class name, in the order of ``classes``."""
    try:
        rows = [row for row in csv.reader(io.StringIO(file.read_text("utf-8-sig"))) if row]
        columns = list(map(unguard, rows[0][1:]))
        values = {
            unguard(row[0]): dict(zip(columns, map(float, row[1:]), strict=True))
            for row in rows[1:]
        }
        return np.array([[values[true][label] for label in classes] for true in classes])
    except KeyError as error:
        raise UserError(f"{file}: class {error} of the labels is not in the matrix") from None
    except (OSError, UnicodeDecodeError, ValueError, IndexError, csv.Error) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{file} is not a matrix with class names around it ({reason})") from None


def _thumbnails(images: str, table: LabelTable) -> Matrix:
    """(N, 192) colours of 8 × 8 pixels of each item's image."""
    source = open_source(images, table.items)
    need_pixels(source, "--kind instance")
    found = np.zeros((len(table.items), 192))
    with progress("reading images", len(source)) as on_progress:
        for row in range(len(source)):
            pixels = source.read(row)
            rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
            small = Image.fromarray(np.ascontiguousarray(rgb)).resize((8, 8), Image.Resampling.BOX)
            found[row] = np.asarray(small, np.float64).ravel()
            on_progress(row + 1)
    return found
