"""``reteach predict``: labels out of a model's scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.sources.named import open_images
from ..engine.evaluate import outputs
from ..engine.learner import Predictor, one_view
from ..errors import UserError
from ..frames import TableFile
from ..inline import InNotebook
from ..labels import LabelSet, Multi, Rows, Single
from ..options.runs import PredictOptions
from ..processes import decoders
from ..progress import progress
from ..runs.checkpoint import LoadedModels, load_models
from ..runs.evaluate import THRESHOLD
from ..scores.table import ScoreWriter
from ..tables import LabelTable, check_suffix, write_labels
from ..unreadable import Unreadable, unreadable

PRESENT = 0.5
"""Where calibrated probabilities are cut."""


@final
@dataclass(frozen=True)
class PredictResult(InNotebook, TableFile):
    """What the model sees.

    Args:
        out: the label table.
        images: images in it.
        labels: labels in it.
        unreadable: what could not be read.
        scores: the score table, where one was asked for.
        trivial: what is wrong with labels that say nothing, and what to do next; None: they say something.
    """

    out: Path
    images: int
    labels: int
    unreadable: Unreadable
    scores: Path | None = None
    trivial: str | None = None

    def lines(self) -> Iterator[str]:
        """How many labels the images have."""
        mean = self.labels / max(self.images, 1)
        yield f"{self.out}: {self.images} images, {mean:.2f} labels per image"
        if self.trivial is not None:
            yield f"but: {self.trivial}"


def predict(options: PredictOptions) -> PredictResult:
    """Write a label table of images, and their scores.

    Raises:
        UserError: no such run, model or images, none that can be read, or a threshold that it does not have.
    """
    check_suffix(options.out)  # before the work, not after it
    saved = load_models(options.run_folder, options.device).with_tta(options.tta)
    _, predictor = saved.named(options.predictor)
    threshold = _threshold(options, saved, predictor)
    source = open_images(options.images)
    data = Dataset.unlabeled(source, saved.classes)
    scan = saved.scan(data, options.batch_size, decoders(options.workers))
    items: list[str] = []
    batches: list[tuple[Rows, Rows, NDArray[np.float32]]] = []
    highest = 0.0
    with ExitStack() as stack:
        on_progress = stack.enter_context(progress("predicting", len(data)))
        table = options.scores and stack.enter_context(
            ScoreWriter(options.scores, saved.classes, logits=True)
        )
        for rows, out in outputs(predictor.outputs, scan):
            values = predictor.probabilities(out).cpu().numpy()
            logits = one_view(out).cpu().numpy()
            highest = max(highest, float(values.max()))
            at, column = _present(values, threshold)
            batches.append((at + len(items), column, values[at, column]))
            names = [source.items[row] for row in rows.tolist()]
            if table:
                best = np.argsort(-values, axis=1, kind="stable")[:, : options.top]
                at, column = np.repeat(np.arange(len(values)), best.shape[1]), best.ravel()
                table.write(names, at, column, values[at, column], logits[at, column])
            items += names
            on_progress(len(items))
    if not items:
        raise UserError(f"none of the images of {options.images} can be read")
    rows, columns, sure = map(np.concatenate, zip(*batches, strict=True))
    starts = np.searchsorted(rows, np.arange(len(items) + 1))
    labels: LabelSet = Multi(starts, columns, saved.classes)
    if threshold is None:  # the first choice is one label, which one-label methods learn from
        labels = Single(columns, saved.classes)
    cut = "argmax" if threshold is None else f"score > {threshold:g}"
    if predictor.presence is not None:
        cut = f"calibrated {cut}"
    if options.tta is not None:
        cut = f"{cut}, flips averaged"
    words = f"{saved.method} {options.run_folder.name}, {cut}"
    write_labels(options.out, LabelTable(tuple(items), labels, words), sure)
    lost = unreadable(options.out, scan.broken, source=source)
    found = None
    if threshold is not None:
        of = _Predicted(len(items), len(columns), len(saved.classes), highest)
        found = of.trivial(threshold, options.run_folder, calibrated=predictor.presence is not None)
    return PredictResult(options.out, len(items), len(rows), lost, options.scores, found)


@final
@dataclass(frozen=True)
class _Predicted:
    """How many labels so many images got, of how many classes, and the highest score of all."""

    images: int
    labels: int
    classes: int
    highest: float

    def trivial(self, threshold: float, run: Path, *, calibrated: bool) -> str | None:
        """Why these labels say nothing (none at all, or every class), and the next step; else None."""
        then = f"calibrate the scores (reteach calibrate {run}) or give another --threshold"
        if calibrated:
            then = "give another --threshold, or calibrate again (reteach calibrate --expected)"
        if not self.labels:
            best = f"the highest score is {self.highest:.2g}"
            return f"no class passes {threshold:g} on any image ({best}): {then}"
        if self.classes > 1 and self.labels >= 0.9 * self.images * self.classes:
            each = f"{self.labels / self.images:.1f} of {self.classes} classes"
            return (
                f"{each} pass {threshold:g} per image, which says nothing: the model has collapsed, or the "
                f"threshold is too low; {then}"
            )
        return None


def _present(values: NDArray[np.float32], threshold: float | None) -> tuple[Rows, Rows]:
    """The (row, class) pairs that are predicted, of scores (B, C)."""
    if threshold is None:
        return np.arange(len(values)), values.argmax(-1)
    at, column = np.nonzero(values > threshold)
    return at, column


def _threshold(options: PredictOptions, saved: LoadedModels, predictor: Predictor) -> float | None:
    """Where label sets are cut; None means the first choice."""
    if options.threshold is not None:
        return options.threshold
    if options.tuned:
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
