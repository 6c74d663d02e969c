"""The end of a training: judge every predictor, and keep the models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..data.dataset import Dataset
from ..data.sources.base import features_of
from ..engine import distributed
from ..engine.algorithm import Algorithm
from ..engine.evaluate import Evaluation, scores
from ..engine.learner import Predictor
from ..engine.setup import Setup
from ..records.record import parse
from ..records.runs import EVALUATION, PredictorEvaluation
from . import gallery
from .checkpoint import save_models
from .config import Config
from .inputs import Inputs

THRESHOLD = 0.25
"""Where label sets are cut for pictures and tables when nothing better is known (MILe's own)."""


def finish(
    config: Config, folder: Path, inputs: Inputs, setup: Setup, algorithm: Algorithm
) -> None:
    """Write ``evaluation.json`` and ``models/``."""
    predictors = algorithm.predictors()
    judged: dict[str, PredictorEvaluation] = {}
    threshold = None
    if inputs.val is not None and len(inputs.val):
        for number, (name, predictor) in enumerate(predictors.items()):
            found, tuned = evaluation(setup, inputs.val, predictor)
            judged[name] = found
            threshold = tuned if number == 0 else threshold
    if distributed.rank() > 0:
        return
    if judged:
        EVALUATION.write(folder, {"val": judged})
    save_models(
        folder,
        predictors,
        architecture=config.model.model,
        classes=inputs.train.classes,
        image_size=setup.image_size,
        frames=setup.frames,
        prepare=setup.prepare,
        threshold=threshold,
        method=config.method,
        resize=setup.resize,
        own_size=_own_size(setup),
        specialists=algorithm.specialists(),
        features=features_of(setup.train.source),
    )


def _own_size(setup: Setup) -> tuple[int, int] | None:
    """(H, W) of images that keep their size."""
    if setup.image_size is not None:
        return None
    height, width = setup.train.source.read(int(setup.train.rows[0])).shape[-3:-1]
    return height, width


def evaluation(
    setup: Setup, data: Dataset, predictor: Predictor, count: int = 24
) -> tuple[PredictorEvaluation, float]:
    """Everything that a report shows of one predictor on one data set, and the tuned threshold."""
    scan = setup.scan(data)
    summary = Evaluation("val", scan)(predictor)
    tuned = summary.tuned_threshold()
    rows, values = scores(
        predictor, setup.scan(few := data.subset(gallery.sample_rows(len(data), count)))
    )
    single = predictor.link == "softmax"
    predicted = gallery.predicted_sets(values, data.classes, THRESHOLD, single)
    found = {
        "metrics": summary.compute(),
        "per_class": summary.per_class(),
        "confusion": summary.confusion(),
        "labels_histogram": summary.labels_histogram(),
        "reliability": summary.reliability(),
    }
    pictures = gallery.examples(few, np.asarray(rows), predicted)
    return replace(parse(PredictorEvaluation, found, "summary"), examples=pictures), tuned
