"""Commands on a run that exists: resume, evaluate, predict, report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional

from ..errors import UserError
from ..table_files import Kind
from .ranges import AtLeast, Checked, Within


@dataclass(frozen=True)
class ResumeOptions:
    """Go on with an interrupted run from its last snapshot."""

    run_folder: Positional[Path]
    """The run folder."""
    images: str | None = None
    """Where the images of --images are now, if they have moved; their contents must be the same."""
    quarantine_missing: bool = False
    """Go on without images that have vanished since the run began. Its numbers are then not those of the
    undisturbed run."""

    def run(self) -> None:
        """Resume, and say where the result is."""
        from ..runs.train import resume

        announce(resume(self.run_folder, self.images, self.quarantine_missing))


@dataclass(frozen=True)
class RunEvaluationOptions(Checked):
    """Of a run folder."""

    images: str | None = None
    """Images: a folder, an .npz file, tar shards, hf:NAME."""
    empty: Literal["none", "unknown"] | None = None
    """What an empty label set says. none: the image has none of the classes, and counts; unknown:
    nobody could tell (ReaL), and it is left out. By default unknown with --original, else none."""
    out: Path | None = None
    """Where the numbers go as JSON; by default evaluation-NAME.json in the run folder."""
    batch_size: Annotated[int, AtLeast(1)] = 256
    """Images at a time."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True)
class ScoreEvaluationOptions(Checked):
    """Of score tables."""

    report: Path | None = None
    """An HTML page of the models by original and by reassessed labels."""
    classes: Path | None = None
    """The class list, one name per line, where the score tables do not hold it."""
    exclude: Path | None = None
    """A file of class names that are never called ambiguous, e.g. fine-grained animals."""
    results: tuple[Path, Path] | None = None
    """Two .csv files (model, top1), by original and by reassessed labels, of further models: their
    progress is on the page too."""
    verdicts: Path | None = None
    """A .csv of what raters said of the remaining mistakes."""
    k: Annotated[int, AtLeast(1)] = 3
    """Predictions per image to judge, the first, the second …"""
    ensemble: Annotated[int, AtLeast(0)] = 3
    """Add up the logits of the best so many models."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Judge a run's model on labelled images, or models by score tables on reassessed labels."""

    of: Positional[tuple[Path, ...]]
    """A run folder, or score tables: .parquet files or folders of them, one per model."""
    labels: Path | None = None
    """Label table; class folders of --images need none."""
    kind: Kind | None = None
    """What --labels holds, of a run folder's images; by default what the table's column kind says."""
    original: Path | None = None
    """Original single labels beside reassessed sets in --labels: accuracy is against these, ReaL
    accuracy and all other numbers against the sets."""
    run_options: RunEvaluationOptions = field(default_factory=RunEvaluationOptions)
    score_options: ScoreEvaluationOptions = field(default_factory=ScoreEvaluationOptions)

    def run(self) -> None:
        """Print a table and write the numbers or the page."""
        if not self.of:
            raise UserError("name a run folder, or score tables: reteach evaluate runs/mile-1 …")
        if self._tables():
            self._judge_scores()
        else:
            self._judge_run(self.of[0])

    def _tables(self) -> bool:
        """Score tables are several paths, a .parquet file, or a folder of such files."""
        first = self.of[0]
        return len(self.of) > 1 or first.suffix == ".parquet" or any(first.glob("*.parquet"))

    def _judge_run(self, folder: Path) -> None:
        from ..runs.predict import evaluate

        if self.score_options != ScoreEvaluationOptions():
            raise UserError("--report and what goes with it are for score tables, not a run folder")
        found, file = evaluate(folder, self.labels, self.original, self.run_options, self.kind)
        show_metrics(found)
        print(f"numbers: {file}")

    def _judge_scores(self) -> None:
        from ..commands.reassess import reassess

        if self.run_options != RunEvaluationOptions():
            raise UserError("--images and what goes with it are for a run folder, not score tables")
        if self.kind is not None:
            raise UserError("--kind is for a run folder: score tables are judged by label sets")
        if self.labels is None or self.original is None:
            raise UserError(
                "score tables need --labels (reassessed) and --original (single labels)"
            )
        for line in reassess(self.of, self.labels, self.original, **vars(self.score_options)):
            print(line)


@dataclass(frozen=True)
class PredictOptions(Checked):
    """Write a label table of what a run's model sees in images."""

    run_folder: Positional[Path]
    """The run folder."""
    images: str
    """Images: a folder, an .npz file, tar shards, hf:NAME."""
    out: Path = Path("labels.parquet")
    """The label table: .parquet or .csv."""
    threshold: Annotated[float | None, Within(0, 1, "[)")] = None
    """Classes above this score are predicted (sigmoid models); by default the one that --tuned
    names, or 0.25. Softmax models predict their first choice, or with a threshold all above it."""
    tuned: bool = False
    """Use the threshold with the best F1 on the run's validation labels. Only sensible when those are
    label sets: against single labels the best threshold predicts single labels."""
    scores: Path | None = None
    """Also write a score table (Parquet), probabilities and logits of the --top classes of each image."""
    top: Annotated[int, AtLeast(1)] = 5
    """Classes per image in the score table. Ensembles need all classes."""
    predictor: str | None = None
    """Which of the run's models, e.g. teacher; by default the first."""
    batch_size: Annotated[int, AtLeast(1)] = 256
    """Images at a time."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> None:
        """Write the table and say what is in it."""
        from ..runs.predict import predict

        n, total, broken = predict(self)
        print(f"{self.out}: {n} images, {total / max(n, 1):.2f} labels per image")
        if broken:
            print(
                f"{len(broken)} images could not be read, first: {next(iter(broken))!r}",
                file=sys.stderr,
            )


@dataclass(frozen=True)
class ReportOptions:
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


def show_metrics(found: dict[str, dict[str, Any]], title: str | None = None) -> None:
    """A table on standard output: predictors in rows, metrics in columns, in percent."""
    from ..metrics.registry import by_sets, columns, counted, metric

    titles = columns("table/sets" if by_sets(found.values()) else "table")
    used = [metric(key) for key in titles if any(key in numbers for numbers in found.values())]
    rows = []
    for name, numbers in found.items():
        cells = [
            "" if numbers.get(m.name) is None else f"{m.scale * numbers[m.name]:.{m.digits}f}"
            for m in used
        ]
        rows.append((name, *cells))
    show_table(("model", *(titles[m.name] for m in used)), rows, title)
    said = dict.fromkeys(words for numbers in found.values() if (words := counted(numbers)))
    for words in said:
        print(words)


def show_table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None
) -> None:
    """A table on standard output, narrow enough for eight metrics in 80 columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*titles, title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(*row)
    Console().print(table)
