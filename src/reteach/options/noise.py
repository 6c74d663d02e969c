"""Options of ``reteach noise`` and ``reteach noise estimate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .ranges import AtLeast, Checked, Within


@dataclass(frozen=True)
class NoiseOptions(Checked):
    """Make some labels of a table wrong: the same number in every run, the same ones for a seed."""

    labels: Path
    """Label table of right labels, one per item."""
    out: Path
    """The noisy label table: .csv or .parquet."""
    kind: Literal["symmetric", "symmetric-keep", "pair", "matrix", "instance"] = "symmetric"
    """symmetric: to any other class; symmetric-keep: to any class, the true one included; pair: to the
    next class of the class list; matrix: by --matrix or --scores; instance: images that look alike go
    wrong alike (needs --images)."""
    rate: Annotated[float, Within(0, 1)] = 0.5
    """Share of each class's labels that are redrawn."""
    matrix: Path | None = None
    """CSV of shares, true classes in rows, given labels in columns; the header and the first column are
    class names."""
    scores: Path | None = None
    """In place of --matrix: held-out scores of the items (Parquet). The noise that the labels seem to
    have is estimated from them, and applied to the labels."""
    images: str | None = None
    """The images, for instance."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of the draws."""
    classes: Path | None = None
    """The class list, one name per line; by default the table's column classes, or the names in it."""


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
