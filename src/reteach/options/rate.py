"""Options of ``reteach relabel tasks``, ``reteach rate`` and ``reteach relabel export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from ..errors import UserError
from .conditions import NotWith, OnlyWith
from .paths import Exists, LocalOnly
from .ranges import AtLeast, Checked, Positive, Within


@dataclass(frozen=True)
class TasksOptions(Checked):
    """Make a rating store: tasks for raters, from proposals or from models' mistakes."""

    proposals: Annotated[Path | None, Exists()] = None
    """Proposals, as 'reteach relabel propose' writes them: is each class in the image?"""
    predictions: Annotated[tuple[Path, ...], Exists()] = ()
    """In place of proposals: label tables of models' predictions; is each mistake really one?"""
    label_studio: Annotated[Path | None, Exists("Label Studio file")] = None
    """In place of proposals: tasks or an export of Label Studio (.json), with its answers."""
    labels: Annotated[tuple[Path, ...], OnlyWith("predictions"), Exists("label table")] = ()
    """With --predictions: label tables by which predictions are right or wrong."""
    out: Annotated[str | None, LocalOnly("a rating store is a database")] = None
    """The store: a file that does not exist yet (.db, .sqlite, .sqlite3), or
    postgresql://user@host/name."""
    store: Annotated[str | None, LocalOnly("a rating store is a database")] = None
    """The same as --out."""
    hierarchy: Annotated[Path | None, Exists("hierarchy")] = None
    """Is-a hierarchy, lines 'parent child': similar classes stand in one task. Without it, classes
    that are often proposed together do."""
    limit: Annotated[int, AtLeast(1)] = 8
    """Most classes in a task; tasks of --label-studio that have answers stay as they are."""
    raters: Annotated[int | None, AtLeast(1)] = None
    """Raters per task; by default as many as the file of --label-studio or --ratings says, else 5."""
    agree: Annotated[int | None, AtLeast(2), NotWith("predictions")] = None
    """Fewer raters where they agree: so many answers settle a question that none of them contradicts, and
    only disputed ones are asked on, up to --raters. 3 of 5 save 31% of the answers at equal quality, 2 of 5
    save half and cost quality (docs/results-real.md)."""
    gold: Annotated[Path | None, Exists("label table")] = None
    """Label table of images whose labels are surely complete: their tasks are golden, and the consensus
    writes these labels."""
    gold_rate: Annotated[float, Within(0, 1), OnlyWith("gold")] = 0.1
    """Share of golden tasks among those that a rater sees."""
    names: Annotated[Path | None, Exists()] = None
    """Titles and descriptions of the classes: .tsv or .csv with class, title, description."""
    examples: Annotated[Path | None, Exists("label table")] = None
    """Label table of images that show their classes well; by default those on which all models
    agree with the label."""
    ratings: Annotated[Path | None, Exists()] = None
    """Answers given elsewhere, which count too: .csv (task, rater, answer)."""
    most: Annotated[int | None, AtLeast(1), OnlyWith("predictions")] = None
    """With --predictions: take so many mistakes of each model, at random."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of the order of the tasks and the choice of examples."""


@dataclass(frozen=True)
class RateOptions(Checked):
    """Serve the rating pages, until Ctrl-C."""

    ratings: Annotated[Positional[str | None], LocalOnly("a rating store is a database")] = None
    """The rating store: a file, or postgresql://user@host/name."""
    images: Annotated[str, LocalOnly("raters' images are served from a disk")] = "."
    """The images: a folder, or whatever else reteach trains on (.npz, .tar, hf:NAME)."""
    store: Annotated[str | None, LocalOnly("a rating store is a database")] = None
    """The same as the first argument."""
    raters: tuple[str, ...] = ()
    """Names of new raters. A new store gets as many as a task needs, if none are named."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but this machine also needs --public."""
    port: Annotated[int, Within(0, 65535)] = 8765
    """Port to listen on."""
    public: str | None = None
    """The address that raters use, such as https://rate.example.org behind a reverse proxy."""
    lease: Annotated[float, Positive()] = 10.0
    """Minutes until a task that a rater left lying goes to someone else."""


@dataclass(frozen=True)
class ExportOptions:
    """Write the answers in a rating store for other programs."""

    ratings: Annotated[Positional[str], LocalOnly("a rating store is a database")]
    """The rating store."""
    out: Path
    """A .csv file, or a .json file for Label Studio (with its labelling interface beside it)."""
    columns: Literal["reteach", "crowd-kit"] | None = None
    """Column names of a .csv: task, rater, answer (reteach, by default), or task, worker, label."""

    def __post_init__(self) -> None:
        if self.columns is not None and self.out.suffix.lower() == ".json":
            raise UserError("--columns has no effect on a .json file; leave it out")
