"""Options of the commands on a run that exists: resume, evaluate, predict, report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from ..errors import UserError
from ..table_files import Kind
from .conditions import NotWith, OnlyWith
from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked, Within
from .shared import Tta


@dataclass(frozen=True)
class ResumeOptions:
    """Go on with an interrupted run from its last snapshot."""

    run_folder: Annotated[Positional[Path], Exists("run folder", somewhere=True)]
    """The run folder."""
    images: Annotated[str | None, ImagesExist()] = None
    """Where the images of --images are now, if they have moved; their contents must be the same."""
    quarantine_missing: bool = False
    """Go on without images that have vanished since the run began. Its numbers are then not those of the
    undisturbed run."""


@dataclass(frozen=True)
class RunEvaluationOptions(Checked):
    """Settings for a run folder."""

    images: Annotated[str | None, ImagesExist()] = None
    """Images: a folder, an .npz file, tar shards, hf:NAME."""
    empty: Literal["none", "unknown"] | None = None
    """What an empty label set says. none: the image has none of the classes, and counts; unknown:
    nobody could tell (ReaL), and it is left out. By default unknown with --original, else none."""
    out: Path | None = None
    """Where the numbers go as JSON; by default evaluation-NAME.json in the run folder (with --tta
    evaluation-NAME-flip.json)."""
    tta: Tta | None = None
    """flip: average the probabilities of each image and its mirror image; twice the work."""
    batch_size: Annotated[int, AtLeast(1)] = 256
    """Images at a time."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True)
class ScoreEvaluationOptions(Checked):
    """Settings for score tables."""

    report: Path | None = None
    """An HTML page of the models by original and by reassessed labels."""
    classes: Annotated[Path | None, Exists("class list")] = None
    """The class list, one name per line, where the score tables do not hold it."""
    exclude: Annotated[Path | None, Exists()] = None
    """A file of class names that are never called ambiguous, e.g. fine-grained animals."""
    results: Annotated[tuple[Path, Path] | None, Exists("table of results")] = None
    """Two .csv files (model, top1), by original and by reassessed labels, of further models: their
    progress is on the page too."""
    verdicts: Annotated[Path | None, Exists("table of verdicts")] = None
    """A .csv of what raters said of the remaining mistakes."""
    k: Annotated[int, AtLeast(1)] = 3
    """Predictions per image to judge, the first, the second …"""
    ensemble: Annotated[int, AtLeast(0)] = 3
    """Add up the logits of the best so many models."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Judge a run's model on labelled images, or models by score tables on reassessed labels."""

    of: Annotated[Positional[tuple[Path, ...]], Exists()]
    """A run folder, or score tables: .parquet files or folders of them, one per model."""
    labels: Annotated[Path | None, Exists("label table")] = None
    """Label table; class folders of --images need none."""
    kind: Kind | None = None
    """What --labels holds, of a run folder's images; by default what the table's column kind says."""
    original: Annotated[Path | None, Exists("label table")] = None
    """Original single labels beside reassessed sets in --labels: accuracy is against these, ReaL
    accuracy and all other numbers against the sets."""
    run_options: RunEvaluationOptions = field(default_factory=RunEvaluationOptions)
    score_options: ScoreEvaluationOptions = field(default_factory=ScoreEvaluationOptions)

    def __post_init__(self) -> None:
        if not self.of:
            raise UserError("name a run folder, or score tables: reteach evaluate runs/mile-1 …")


@dataclass(frozen=True)
class PredictOptions(Checked):
    """Write a label table of what a run's model sees in images."""

    run_folder: Annotated[Positional[Path], Exists("run folder")]
    """The run folder."""
    images: Annotated[str, ImagesExist(several=True)]
    """Images: a folder, an .npz file, tar shards, hf:NAME; one file, a quoted pattern ('photos/*.jpg'; ** for
    folders within), or - for a list of files on standard input, one a line."""
    out: Path = Path("labels.parquet")
    """The label table: .parquet or .csv."""
    threshold: Annotated[float | None, Within(0, 1, "[)"), NotWith("tuned")] = None
    """Classes above this score are predicted (sigmoid models); by default the one that --tuned
    names, or 0.25. Softmax models predict their first choice, or with a threshold all above it."""
    tuned: bool = False
    """Use the threshold with the best F1 on the run's validation labels. Only sensible when those are
    label sets: against single labels the best threshold predicts single labels."""
    scores: Path | None = None
    """Also write a score table (Parquet), probabilities and logits of the --top classes of each image."""
    top: Annotated[int, AtLeast(1), OnlyWith("scores")] = 5
    """Classes per image in the score table. Ensembles need all classes."""
    predictor: str | None = None
    """Which of the run's models, e.g. teacher; by default the first."""
    tta: Tta | None = None
    """flip: average the probabilities of each image and its mirror image; twice the work."""
    batch_size: Annotated[int, AtLeast(1)] = 256
    """Images at a time."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True)
class ReportOptions:
    """Make the HTML page of a run or a comparison again."""

    run_folder: Annotated[Positional[Path], Exists("run folder")]
    """The run folder, or the folder of a comparison."""
    out: Path | None = None
    """Where the page goes; by default report.html in the folder."""
