"""``reteach evaluate``: a run's models on labelled images, or score tables on reassessed labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ..data.sources.base import PREFIX, open_source
from ..engine.evaluate import Evaluation
from ..errors import UserError
from ..files import write_json
from ..frames import AsTable, Table
from ..inline import InNotebook
from ..labels import Rows, Single
from ..options.runs import EvaluateOptions, RunEvaluationOptions, ScoreEvaluationOptions
from ..processes import decoders
from ..progress import progress
from ..runs.checkpoint import load_models
from ..runs.inputs import labelled, labelled_dataset
from ..tables import read_labels
from ..unreadable import Unreadable, unreadable
from .evaluate_scores import ScoreEvaluation, evaluate_scores
from .lines import metric_lines


@final
@dataclass(frozen=True)
class RunEvaluation(InNotebook, AsTable):
    """A run's models on images.

    Args:
        metrics: model -> metric -> value; F1 also at the threshold that the run tuned on its own
            validation images.
        numbers: the JSON file that they are in.
        unreadable: what could not be read.
    """

    metrics: dict[str, dict[str, float]]
    numbers: Path
    unreadable: Unreadable

    def table(self) -> Table:
        """A row for each model: model, and a column for each metric."""
        import pyarrow as pa

        rows = [{"model": name, **numbers} for name, numbers in self.metrics.items()]
        return Table(pa.Table.from_pylist(rows), self.unreadable)

    def lines(self) -> Iterator[str]:
        """A table, and where the numbers are."""
        yield from metric_lines(self.metrics)
        yield f"numbers: {self.numbers}"


def evaluate(options: EvaluateOptions) -> RunEvaluation | ScoreEvaluation:
    """Judge a run, or score tables: several paths, a .parquet file, or a folder of such files.

    Raises:
        UserError: no such run, images, tables or labels, or settings that are for the other kind.
    """
    if _are_tables(options.of):
        if options.run_options != RunEvaluationOptions():
            raise UserError("--images and what goes with it are for a run folder, not score tables")
        if options.kind is not None:
            raise UserError("--kind is for a run folder: score tables are judged by label sets")
        return evaluate_scores(options)
    if options.score_options != ScoreEvaluationOptions():
        raise UserError("--report and what goes with it are for score tables, not a run folder")
    return _evaluate_run(options, options.run_options)


def _are_tables(of: tuple[Path, ...]) -> bool:
    """Whether these are score tables; a run folder may hold a table of picks beside its model."""
    first = of[0]
    if len(of) > 1 or first.suffix == ".parquet":
        return True
    return not (first / "config.yaml").exists() and any(first.glob("*.parquet"))


def _evaluate_run(options: EvaluateOptions, how: RunEvaluationOptions) -> RunEvaluation:
    folder = options.of[0]
    if how.images is None:
        raise UserError(f"--images is missing: which images to judge {folder} on")
    saved = load_models(folder, how.device).with_tta(how.tta)
    source = open_source(how.images)
    data = labelled_dataset(source, options.labels, how.images, saved.classes, kind=options.kind)
    if how.empty is not None and isinstance(data.labels, Single):
        raise UserError(
            "--empty is about label sets, and these are single labels: an empty cell says unknown already"
        )
    data = labelled(data, "the evaluation")
    given = None
    if options.original is not None:
        table = read_labels(options.original, kind="single", classes=saved.classes)
        whole = table.aligned(source.items, str(options.original))
        assert isinstance(whole, Single)
        given = whole.take(data.rows)
    scan = saved.scan(data, how.batch_size, decoders(how.workers))
    evaluation = Evaluation("test", scan, given, how.empty).narrowed()
    if not len(evaluation.scan.dataset):
        raise UserError("none of the images has a label to be judged by")
    metrics: dict[str, Any] = {}
    count = len(evaluation.scan.dataset)
    with progress("judging", count * len(saved.predictors)) as on_progress:
        for number, (model, predictor) in enumerate(saved.predictors.items()):

            def see(rows: Rows, _: Any, before: int = number * count) -> None:
                on_progress(before + int(rows[-1]) + 1)

            metrics[model] = evaluation(predictor, saved.threshold, see).compute()
    where = how.images.rstrip("/")
    name = where.rpartition(":")[2] if where.startswith(PREFIX) else Path(where).stem or "images"
    name = name if how.tta is None else f"{name}-{how.tta}"
    file = how.out or folder / f"evaluation-{name}.json"
    broken = evaluation.scan.broken
    tta = {} if how.tta is None else {"tta": how.tta}
    write_json(file, {"images": how.images, **tta, "quarantined": broken, "metrics": metrics})
    return RunEvaluation(metrics, file, unreadable(file, broken, source=source))
