"""``reteach noise``: wrong labels on purpose, and an estimate of those that are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import UserError

if TYPE_CHECKING:
    from ..labels import Single
    from ..relabel.noise.transition import Matrix
    from ..tables import LabelTable


@dataclass(frozen=True)
class NoiseOptions:
    """Make some labels of a table wrong: the same number in every run, the same ones for a seed."""

    labels: Path
    """Label table of right labels, one per item."""
    out: Path
    """The noisy label table: .csv or .parquet."""
    kind: Literal["symmetric", "symmetric-keep", "pair", "matrix", "instance"] = "symmetric"
    """symmetric: to any other class; symmetric-keep: to any class, the true one included; pair: to the
    next class of the class list; matrix: by --matrix or --scores; instance: images that look alike go
    wrong alike (needs --images)."""
    rate: float = 0.5
    """Share of each class's labels that are redrawn."""
    matrix: Path | None = None
    """CSV of shares, true classes in rows, given labels in columns; the header and the first column are
    class names."""
    scores: Path | None = None
    """In place of --matrix: held-out scores of the items (Parquet). The noise that the labels seem to
    have is estimated from them, and applied to the labels."""
    images: str | None = None
    """The images, for instance."""
    seed: int = 0
    """Of the draws."""
    classes: Path | None = None
    """The class list, one name per line; by default the table's column classes, or the names in it."""

    def run(self) -> None:
        """Write the table and say how many labels are wrong."""
        import numpy as np

        from ..labels import Single
        from ..tables import LabelTable, read_labels, write_labels

        table = read_labels(self.labels, kind="single", classes=_listed(self.classes))
        assert isinstance(table.labels, Single)
        noisy = self._noisy(table, table.labels)
        source = f"{self._words()}, seed {self.seed}"
        source += f"; of {table.source}" if table.source else ""
        write_labels(self.out, LabelTable(table.items, noisy, source))
        wrong = int(np.count_nonzero(noisy.index != table.labels.index))
        known = int(table.labels.known().sum())
        print(f"{self.out}: {wrong} of {known} labels are wrong ({wrong / max(known, 1):.1%})")
        if left := len(table.items) - known:
            print(f"{left:,} of {len(table.items):,} images have no label, and get none")

    def _words(self) -> str:
        if self.kind != "matrix":
            return f"{self.kind} noise, rate {self.rate:g}"
        return f"noise by {'an estimate' if self.scores else (self.matrix or Path()).name}"

    def _noisy(self, table: LabelTable, labels: Single) -> Single:
        from ..relabel.noise import transition as noise

        if self.kind == "instance":
            if self.images is None:
                raise UserError("--kind instance looks at the images: add --images")
            return noise.by_instance(labels, _thumbnails(self.images, table), self.rate, self.seed)
        return noise.by_matrix(labels, self._matrix(table, labels), self.seed)

    def _matrix(self, table: LabelTable, labels: Single) -> Matrix:
        from ..relabel.noise import transition as noise

        count = labels.num_classes
        if self.kind == "pair":
            return noise.pair(count, self.rate)
        if self.kind != "matrix":
            return noise.symmetric(count, self.rate, keep=self.kind == "symmetric-keep")
        if (self.matrix is None) == (self.scores is None):
            raise UserError(
                "--kind matrix needs --matrix FILE.csv, or --scores to estimate one from"
            )
        if self.matrix is not None:
            return _read_matrix(self.matrix, labels.classes)
        assert self.scores is not None
        return noise.estimated(labels, _dense(self.scores, table))


MOST = 5
"""Confusions that are named."""


@dataclass(frozen=True)
class EstimateOptions:
    """Estimate the noise matrix behind given labels, from scores of models that did not see the items."""

    labels: Path
    """Label table of the given labels, one per item."""
    scores: Path
    """Held-out scores of the items (Parquet), such as those of reteach relabel clean."""
    out: Path
    """CSV of shares, true classes in rows, given labels in columns: what reteach noise --matrix takes."""
    classes: Path | None = None
    """The class list, one name per line; by default the table's column classes, or the names in it."""

    def run(self) -> None:
        """Write the matrix and say which confusions seem to be most frequent."""
        import numpy as np

        from ..labels import Single
        from ..relabel.noise import transition as noise
        from ..tables import read_labels

        table = read_labels(self.labels, kind="single", classes=_listed(self.classes))
        assert isinstance(table.labels, Single)
        if left := len(table.items) - int(table.labels.known().sum()):
            print(f"{left:,} of {len(table.items):,} images have no label and are left out")
        scores, classes = _dense(self.scores, table), table.labels.classes
        matrix = noise.estimated(table.labels, scores)
        _write_matrix(self.out, matrix, classes)
        share = noise.estimated_share(table.labels, scores)
        print(f"{self.out}: about {share:.1%} of the labels seem to be wrong")
        off = np.where(np.eye(len(classes), dtype=bool), 0, matrix)
        for place in np.argsort(-off, axis=None, kind="stable")[:MOST].tolist():
            i, j = divmod(place, len(classes))
            if off[i, j] > 0:
                print(f"  {off[i, j]:6.1%} of {classes[i]!r} are labelled {classes[j]!r}")


def _listed(file: Path | None) -> tuple[str, ...] | None:
    from ..scores.classes import read_classes

    return None if file is None else read_classes(file)


def _write_matrix(file: Path, matrix: Matrix, classes: tuple[str, ...]) -> None:
    from ..files import atomic_write
    from ..spreadsheet import to_csv

    rows = zip(classes, matrix.tolist(), strict=True)
    atomic_write(file, to_csv(["true", *classes], ([name, *row] for name, row in rows)))


def _read_matrix(file: Path, classes: tuple[str, ...]) -> Matrix:
    """Shares by class name, in the order of ``classes``."""
    import csv
    import io

    import numpy as np

    from ..spreadsheet import unguard

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


def _dense(file: Path, table: LabelTable) -> Matrix:
    """(N, C) scores of the table's items; NaN where the score table has none."""
    import numpy as np

    from ..scores.table import ItemIndex, open_scores

    scores = np.full((len(table.items), table.labels.num_classes), np.nan)
    index = ItemIndex(table.items, closed=True)
    for rows in open_scores(file).batches(index, table.labels.classes):
        scores[rows.item, rows.cls] = rows.score
    if np.isnan(scores).any(1).all():
        raise UserError(f"{file}: no item has scores of all {scores.shape[1]} classes")
    return scores


def _thumbnails(images: str, table: LabelTable) -> Matrix:
    """(N, 192) colours of 8 × 8 pixels of each item's image."""
    import numpy as np
    from PIL import Image

    from ..data.sources.base import open_source
    from ..progress import progress

    source = open_source(images, table.items)
    found = np.zeros((len(table.items), 192))
    with progress("reading images", len(source)) as show:
        for row in range(len(source)):
            pixels = source.read(row)
            rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
            small = Image.fromarray(np.ascontiguousarray(rgb)).resize((8, 8), Image.Resampling.BOX)
            found[row] = np.asarray(small, np.float64).ravel()
            show(row + 1)
    return found
