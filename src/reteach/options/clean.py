"""``reteach relabel clean``: drop the labels that held-out models do not confirm."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from ..errors import UserError
from ..table_files import Kind
from .ranges import AtLeast, Checked
from .shared import Model, Training


@dataclass(frozen=True)
class CleanOptions(Checked):
    """Drop doubtful labels: train on K - 1 folds, predict the K-th, keep what the prediction confirms."""

    images: str
    """A folder of class folders, a flat folder, an .npz file, tar shards, or hf:NAME[:SPLIT]."""
    labels: Path | None = None
    """Label table, one label per image. Without it, class folders give the labels."""
    kind: Kind | None = None
    """What --labels holds; by default what the table's column kind says."""
    classes: Path | None = None
    """The class list, one name per line; by default the table's column classes, or the names in it."""
    folds: Annotated[int, AtLeast(2)] = 10
    """K. Copies and near-copies of an image are always in one fold."""
    method: str = "softmax"
    """Any method of reteach train."""
    set: tuple[str, ...] = ()
    """Settings of the method: rho=0.1, smoothing=0.1, …"""
    rule: Literal["agreement", "per-class", "confidence"] = "agreement"
    """agreement: the label is the first choice (the paper's rule); per-class: no other class scores as
    much as it does on its own images; confidence: drop the lowest scores, as many as are estimated to
    be wrong. To try another rule, ask again: the folds are not trained again."""
    out: Path = Path("clean.parquet")
    """The label table of what is kept (.parquet or .csv)."""
    folder: Path | None = None
    """Where the work is kept and resumed: held-out scores, numbers, the page; by default --out
    without its ending."""
    report: Path | None = None
    """The page of suspects; by default suspects.html in the folder."""
    pictures: Annotated[int, AtLeast(0)] = 200
    """Suspects with a picture on the page."""
    top: Annotated[int, AtLeast(1)] = 20
    """Classes per image in the score table of held-out scores, beside the given label."""
    truth: Path | None = None
    """Label table of true labels, for all or some of the images: how well were wrong ones found?"""
    on_error: Literal["report", "fail"] = "report"
    """Unreadable images: leave out and list in quarantine.csv, or stop at once."""
    cache: bool = False
    """Keep the decoded images in memory."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out.suffix.lower() not in (".parquet", ".csv"):
            raise UserError(f"--out {self.out}: a label table is a .parquet or .csv file")

    def run(self) -> None:
        """Train the folds, write the table, the scores and the page, and say what came out."""
        from ..commands.clean import clean

        for line in clean(self):
            print(line)
