"""A trained model on other images: numbers against labels, or labels out of scores."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.sources.base import open_source
from ..engine.evaluate import Evaluation, outputs
from ..engine.learner import Predictor, one_view
from ..errors import UserError
from ..files import write_json
from ..labels import LabelSet, Multi, Rows, Single
from ..processes import decoders
from ..progress import progress
from ..scores.table import ScoreWriter
from ..table_files import Kind
from ..tables import LabelTable, check_suffix, read_labels, write_labels
from .checkpoint import TrainedModel, load_models
from .evaluate import THRESHOLD
from .inputs import labelled, labelled_dataset

if TYPE_CHECKING:
    from ..options.runs import PredictOptions, RunEvaluationOptions

PRESENT = 0.5
"""Where calibrated probabilities are cut."""


def evaluate(
    folder: Path,
    labels: Path | None,
    original: Path | None,
    options: RunEvaluationOptions,
    kind: Kind | None = None,
) -> tuple[dict[str, dict[str, float]], Path]:
    """Judge every predictor of a run; returns the numbers and the file they are in.

    F1 is also given at the threshold that the run tuned on its own validation images.

    Args:
        kind: of ``labels``; by default what the table says.
    """
    if options.images is None:
        raise UserError(f"--images is missing: which images to judge {folder} on")
    saved = load_models(folder, options.device)
    source = open_source(options.images)
    data = labelled_dataset(source, labels, options.images, saved.classes, kind=kind)
    if options.empty is not None and isinstance(data.labels, Single):
        raise UserError(
            "--empty is about label sets, and these are single labels: an empty cell says unknown already"
        )
    data = labelled(data, "the evaluation")
    given = None
    if original is not None:
        table = read_labels(original, kind="single", classes=saved.classes)
        whole = table.aligned(source.items, str(original))
        assert isinstance(whole, Single)
        given = whole.take(data.rows)
    scan = saved.scan(data, options.batch_size, decoders(options.workers))
    evaluation = Evaluation("test", scan, given, options.empty).narrowed()
    if not len(evaluation.scan.dataset):
        raise UserError("none of the images has a label to be judged by")
    found = {
        name: evaluation(predictor, saved.threshold).compute()
        for name, predictor in saved.predictors.items()
    }
    name = Path(options.images.rstrip("/")).stem or "images"
    file = options.out or folder / f"evaluation-{name}.json"
    content: dict[str, Any] = {
        "images": options.images,
        "quarantined": evaluation.scan.broken,
        "metrics": found,
    }
    write_json(file, content)
    return found, file


def predict(command: PredictOptions) -> tuple[int, int, dict[str, str]]:
    """Write a label table; returns (images, labels, unreadable items with their reasons)."""
    check_suffix(command.out)  # before the work, not after it
    saved = load_models(command.run_folder, command.device)
    _, predictor = saved.named(command.predictor)
    threshold = _threshold(command, saved, predictor)
    source = open_source(command.images)
    data = Dataset.unlabeled(source, saved.classes)
    scan = saved.scan(data, command.batch_size, decoders(command.workers))
    items: list[str] = []
    found: list[tuple[Rows, Rows, NDArray[np.float32]]] = []
    with ExitStack() as stack:
        show = stack.enter_context(progress("predicting", len(data)))
        table = command.scores and stack.enter_context(
            ScoreWriter(command.scores, saved.classes, logits=True)
        )
        for rows, out in outputs(predictor.outputs, scan):
            values = predictor.probabilities(out).cpu().numpy()
            logits = one_view(out).cpu().numpy()
            at, column = _present(values, threshold)
            found.append((at + len(items), column, values[at, column]))
            names = [source.items[row] for row in rows.tolist()]
            if table:
                best = np.argsort(-values, axis=1, kind="stable")[:, : command.top]
                at, column = np.repeat(np.arange(len(values)), best.shape[1]), best.ravel()
                table.write(names, at, column, values[at, column], logits[at, column])
            items += names
            show(len(items))
    if not items:
        raise UserError(f"none of the images of {command.images} can be read")
    rows, columns, sure = map(np.concatenate, zip(*found, strict=True))
    starts = np.searchsorted(rows, np.arange(len(items) + 1))
    labels: LabelSet = Multi(starts, columns, saved.classes)
    if threshold is None:  # the first choice is one label, which one-label methods learn from
        labels = Single(columns, saved.classes)
    cut = "argmax" if threshold is None else f"score > {threshold:g}"
    if predictor.presence is not None:
        cut = f"calibrated {cut}"
    note = f"{saved.method} {command.run_folder.name}, {cut}"
    write_labels(command.out, LabelTable(tuple(items), labels, note), sure)
    return len(items), len(rows), scan.broken


def _present(values: NDArray[np.float32], threshold: float | None) -> tuple[Rows, Rows]:
    """The (row, class) pairs that are predicted, of scores (B, C)."""
    if threshold is None:
        return np.arange(len(values)), values.argmax(-1)
    at, column = np.nonzero(values > threshold)
    return at, column


def _threshold(command: PredictOptions, saved: TrainedModel, predictor: Predictor) -> float | None:
    """Where label sets are cut; None means the first choice."""
    if command.threshold is not None:
        return command.threshold
    if command.tuned:
        if predictor.presence is not None:
            raise UserError(
                "--tuned is for scores as they come: this model is calibrated, cut at 0.5"
            )
        if saved.threshold is None:
            raise UserError("--tuned: the run had no validation images to tune a threshold on")
        return saved.threshold
    if predictor.presence is not None:
        return PRESENT
    return THRESHOLD if predictor.link == "sigmoid" else None
