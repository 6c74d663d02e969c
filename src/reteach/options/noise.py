"""Options of ``reteach noise`` and ``reteach noise estimate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ..errors import UserError
from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked, Within


@dataclass(frozen=True)
class NoiseOptions(Checked):
    """Make some labels of a table wrong: the same number in every run, the same ones for a seed."""

    labels: Annotated[Path, Exists("label table")]
    """Label table of right labels, one per item."""
    out: Path
    """The noisy label table: .csv or .parquet."""
    kind: Literal["symmetric", "symmetric-keep", "pair", "matrix", "instance"] | None = None
    """By default what the other options say: matrix with --matrix or --scores, instance with --images,
    else symmetric. symmetric: to any other class; symmetric-keep: to any class, the true one included;
    pair: to the next class of the class list; matrix: by --matrix or --scores; instance: images that
    look alike go wrong alike (needs --images)."""
    rate: Annotated[float | None, Within(0, 1)] = None
    """Share of each class's labels that are redrawn; by default 0.5. A matrix says it itself."""
    matrix: Annotated[Path | None, Exists()] = None
    """CSV of shares, true classes in rows, given labels in columns; the header and the first column are
    class names."""
    scores: Annotated[Path | None, Exists("score table")] = None
    """In place of --matrix: held-out scores of the items (Parquet). The noise that the labels seem to
    have is estimated from them, and applied to the labels."""
    images: Annotated[str | None, ImagesExist()] = None
    """The images, for --kind instance."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of the draws."""
    classes: Annotated[Path | None, Exists("class list")] = None
    """The class list, one name per line; by default the table's column classes, or the names in it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("matrix", "scores", "images") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(
                f"--{given[0]} and --{given[1]} are of different noise: give one of them"
            )
        if given and self.kind != (goes_with := _KIND_OF[given[0]]) and self.kind is not None:
            raise UserError(
                f"--{given[0]} is for --kind {goes_with}, not {self.kind}: leave one of them out"
            )
        if self.made == "matrix" and not given:
            raise UserError(
                "--kind matrix needs --matrix FILE.csv, or --scores to estimate one from"
            )
        if self.made == "instance" and not given:
            raise UserError("--kind instance looks at the images: add --images")
        if self.made == "matrix" and self.rate is not None:
            raise UserError(
                f"--rate has no effect beside --{given[0]}, which says how many: leave it out"
            )

    @property
    def made(self) -> str:
        """The kind of noise that is made."""
        if self.kind is not None:
            return self.kind
        given = [kind for name, kind in _KIND_OF.items() if getattr(self, name) is not None]
        return given[0] if given else "symmetric"

    @property
    def share(self) -> float:
        """The share of each class's labels that is redrawn, where no matrix says it."""
        return 0.5 if self.rate is None else self.rate


_KIND_OF = {"matrix": "matrix", "scores": "matrix", "images": "instance"}


@dataclass(frozen=True)
class EstimateOptions:
    """Estimate the noise matrix behind given labels, from scores of models that did not see the items."""

    labels: Annotated[Path, Exists("label table")]
    """Label table of the given labels, one per item."""
    scores: Annotated[Path, Exists("score table")]
    """Held-out scores of the items (Parquet), such as those of reteach relabel clean."""
    out: Path
    """CSV of shares, true classes in rows, given labels in columns: what reteach noise --matrix takes."""
    classes: Annotated[Path | None, Exists("class list")] = None
    """The class list, one name per line; by default the table's column classes, or the names in it."""
