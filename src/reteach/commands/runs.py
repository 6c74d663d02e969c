"""Commands on a run that exists: resume, evaluate, predict, report."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ..errors import UserError


@dataclass(frozen=True)
class Resume:
    """Go on with an interrupted run from its last snapshot."""

    run_folder: Positional[Path]
    """The run folder."""

    def run(self) -> None:
        """Resume, and say where the result is."""
        from ..experiment.train import resume

        announce(resume(self.run_folder))


@dataclass(frozen=True)
class Evaluate:
    """Judge a run's model on labelled images."""

    run_folder: Positional[Path]
    """The run folder."""
    images: str
    """Images: a folder, an .npz file, tar shards, hf:NAME."""
    labels: Path | None = None
    """Their label table; class folders need none."""
    original: Path | None = None
    """Original single labels beside reassessed sets in --labels: accuracy is against these, ReaL
    accuracy against the sets."""
    out: Path | None = None
    """Where the numbers go as JSON; by default evaluation-NAME.json in the run folder."""
    batch_size: int = 256
    """Images at a time."""
    workers: int | None = None
    """Processes that decode images."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> None:
        """Print a table and write the numbers."""
        from ..experiment.predict import evaluate

        found, file = evaluate(self)
        show_metrics(found)
        print(f"numbers: {file}")


@dataclass(frozen=True)
class Predict:
    """Write a label table of what a run's model sees in images."""

    run_folder: Positional[Path]
    """The run folder."""
    images: str
    """Images: a folder, an .npz file, tar shards, hf:NAME."""
    out: Path = Path("labels.parquet")
    """The label table: .parquet or .csv."""
    threshold: float | None = None
    """Classes above this score are predicted (sigmoid models); by default the one that --tuned
    names, or 0.25. Softmax models predict their first choice, or with a threshold all above it."""
    tuned: bool = False
    """Use the threshold with the best F1 on the run's validation labels. Only sensible when those are
    label sets: against single labels the best threshold predicts single labels."""
    scores: Path | None = None
    """Also write a score table (Parquet) of the --top classes of each image."""
    top: int = 5
    """Classes per image in the score table."""
    predictor: str | None = None
    """Which of the run's models, e.g. teacher; by default the first."""
    batch_size: int = 256
    """Images at a time."""
    workers: int | None = None
    """Processes that decode images."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> None:
        """Write the table and say what is in it."""
        from ..experiment.predict import predict

        n, total, broken = predict(self)
        print(f"{self.out}: {n} images, {total / max(n, 1):.2f} labels per image")
        if broken:
            print(
                f"{len(broken)} images could not be read, first: {next(iter(broken))!r}",
                file=sys.stderr,
            )


@dataclass(frozen=True)
class Report:
    """Make the HTML page of a run or a comparison again."""

    run_folder: Positional[Path]
    """The run folder, or the folder of a comparison."""
    out: Path | None = None
    """Where the page goes; by default report.html in the folder."""

    def run(self) -> None:
        """Write the page and say where it is."""
        from ..report import comparison_report, run_report

        if (self.run_folder / "comparison.json").is_file():
            page = comparison_report(self.run_folder, self.out)
        elif (self.run_folder / "run.json").is_file():
            page = run_report(self.run_folder, self.out)
        else:
            raise UserError(f"{self.run_folder} is neither a run folder nor a comparison")
        print(f"report: {page}")


def announce(folder: Path) -> None:
    """Say where a finished run is, how good it is and what to do next."""
    import os

    if os.environ.get("RANK", "0") != "0":
        return
    file = folder / "evaluation.json"
    if file.is_file():
        judged = json.loads(file.read_text())["val"]
        show_metrics({name: entry["metrics"] for name, entry in judged.items()}, "validation")
    print(f"report: {folder / 'report.html'}")
    print(f"next:   reteach predict {folder} --images FOLDER --out labels.parquet")


SHOWN = {
    "accuracy": "accuracy",
    "real_accuracy": "ReaL accuracy",
    "f1@0.25": "F1@0.25",
    "f1@0.5": "F1@0.5",
    "f1@tuned": "F1 tuned",
    "map": "mAP",
    "labels_per_image": "labels/image",
}


def show_metrics(found: dict[str, dict[str, Any]], title: str | None = None) -> None:
    """A table on standard output: predictors in rows, metrics in columns, in percent."""
    from rich.console import Console
    from rich.table import Table

    columns = [key for key in SHOWN if any(key in numbers for numbers in found.values())]
    table = Table("model", *(SHOWN[key] for key in columns), title=title)
    for name, numbers in found.items():
        cells = [
            ""
            if numbers.get(key) is None
            else f"{numbers[key]:.2f}"
            if key == "labels_per_image"
            else f"{100 * numbers[key]:.1f}"
            for key in columns
        ]
        table.add_row(name, *cells)
    Console().print(table)
