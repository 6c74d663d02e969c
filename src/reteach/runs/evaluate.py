"""The end of a training: judge every predictor, and keep the models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.sources.base import features_of
from ..engine import distributed
from ..engine.algorithm import Algorithm, Specialist
from ..engine.best_model import BestModel
from ..engine.evaluate import Evaluation
from ..engine.learner import Predictor
from ..engine.setup import Setup
from ..engine.sharding import copy_of, is_shared_out
from ..features.preprocessing import Preprocessing
from ..labels import Rows
from ..progress import note
from ..records.record import parse
from ..records.runs import EVALUATION, PredictorEvaluation
from . import gallery
from .checkpoint import save_models
from .config import Config
from .frozen import whole
from .inputs import Inputs
from .network_cost import NetworkCost, cost_of, example_of

BEST = "best"
"""The predictor of the best validation, where training watched for it."""
THRESHOLD = 0.25
"""Where label sets are cut for pictures and tables when nothing better is known (MILe's own)."""


def finish(
    config: Config,
    folder: Path,
    inputs: Inputs,
    setup: Setup,
    algorithm: Algorithm,
    best: tuple[BestModel, Predictor] | None = None,
) -> NetworkCost | None:
    """Write ``evaluation.json`` and ``models/``; returns what the model costs, None in all processes but one.

    Args:
        best: the model of the best validation, to be kept as ``best`` beside the last.
    """
    predictors = algorithm.predictors()
    if best is not None:
        predictors = {**predictors, BEST: best[1]}
        setup.derived["best_step"] = best[0].step
        if distributed.rank() == 0:
            note(
                f"the best validation was at step {best[0].step} ({best[0].patience.metric} "
                f"{best[0].value:.3f}): its model is kept as {BEST!r} beside the last (--predictor {BEST})"
            )
    judged: dict[str, PredictorEvaluation] = {}
    also: dict[str, dict[str, PredictorEvaluation]] = {name: {} for name in inputs.also}
    threshold = None
    if inputs.val is not None and len(inputs.val):
        for number, (name, predictor) in enumerate(predictors.items()):
            found, tuned = evaluation(setup, inputs.val, predictor)
            judged[name] = found
            threshold = tuned if number == 0 else threshold
            for other, images in inputs.also.items():
                also[other][name], _ = evaluation(setup, images, predictor, tuned=tuned)
    if judged:
        _warn_of_trivial(setup, config.method, next(iter(predictors.values())), judged)
    predictors = {name: _whole(one) for name, one in predictors.items()}
    specialists = {
        name: replace(one, predictor=_whole(one.predictor))
        for name, one in algorithm.specialists().items()
    }
    if distributed.rank() > 0:
        return None
    if judged:
        EVALUATION.write(folder, {"val": judged, **also})
    return _save(config, folder, inputs, setup, predictors, specialists, threshold)


def _whole(predictor: Predictor) -> Predictor:
    """A predictor whose networks each process has all of; what is not shared out stays as it is."""
    models = (copy_of(m) if is_shared_out(m) else m for m in predictor.models)
    return replace(predictor, models=tuple(models))


def _save(
    config: Config,
    folder: Path,
    inputs: Inputs,
    setup: Setup,
    predictors: dict[str, Predictor],
    specialists: dict[str, Specialist],
    threshold: float | None,
) -> NetworkCost | None:
    """Write ``models/``; heads as networks of images with the backbone that they were trained on."""
    seen = Preprocessing(
        setup.image_size,
        setup.frames,
        setup.prepare,
        setup.resize,
        features=features_of(setup.train.source),
    )
    if (backbone := setup.backbone) is not None:
        seen = backbone.extractor.seen
        predictors = {name: whole(backbone, one) for name, one in predictors.items()}
        specialists = {
            name: replace(one, predictor=whole(backbone, one.predictor))
            for name, one in specialists.items()
        }
    save_models(
        folder,
        predictors,
        architecture=config.model.model,
        classes=inputs.train.classes,
        image_size=seen.image_size,
        frames=seen.frames,
        prepare=seen.prepare,
        threshold=threshold,
        method=config.method,
        resize=seen.resize,
        own_size=_own_size(inputs.train) if seen.image_size is None else None,
        specialists=specialists,
        features=seen.features,
    )
    example = example_of(setup)
    return None if example is None else cost_of(next(iter(predictors.values())), example)


def _warn_of_trivial(
    setup: Setup, method: str, predictor: Predictor, judged: dict[str, PredictorEvaluation]
) -> None:
    """Say of a model of label sets that it names no class on any image, or nearly all, and what to do."""
    numbers = next(iter(judged.values())).metrics
    count, true = numbers.get("labels_per_image"), numbers.get("true_labels_per_image") or 0.0
    if predictor.link != "sigmoid" or count is None:
        return
    width = len(setup.train.classes)
    if width >= 3 and count > 0.9 * width >= true:
        setup.warn(
            f"nearly every class passes 0.5 on the validation images ({count:.1f} of {width}), so that "
            f"{method} says nothing there: train longer or with a higher --lr, or reteach calibrate"
        )
    if count < 0.005:
        setup.warn(
            f"no class passes 0.5 on any validation image, so that {method} predicts nothing there; the "
            "ranking may be good all the same: reteach calibrate, or a lower --threshold of predict"
        )


def _own_size(data: Dataset) -> tuple[int, int]:
    """(H, W) of images that keep their size."""
    if features_of(data.source) is not None:
        return 1, 1
    height, width = data.source.read(int(data.rows[0])).shape[-3:-1]
    return height, width


def evaluation(
    setup: Setup, data: Dataset, predictor: Predictor, count: int = 24, tuned: float | None = None
) -> tuple[PredictorEvaluation, float]:
    """Everything that a report shows of one predictor on one data set, and the threshold that is best there.

    Args:
        count: example images.
        tuned: a threshold that was tuned on other images.
    """
    shown = gallery.sample_rows(len(data), count)
    seen: dict[int, NDArray[np.float32]] = {}

    def see(rows: Rows, values: NDArray[np.float32]) -> None:
        seen.update((int(rows[at]), values[at]) for at in np.flatnonzero(np.isin(rows, shown)))

    summary = Evaluation("val", setup.scan(data))(predictor, tuned, see)
    best = summary.tuned_threshold()
    found = {
        "metrics": summary.compute(),
        "per_class": summary.per_class(),
        "confusion": summary.confusion(),
        "class_curves": summary.class_curves(),
        "labels_histogram": summary.labels_histogram(),
        "reliability": summary.reliability(),
    }
    if (
        distributed.rank() > 0
    ):  # the first process writes the report, and alone decodes its pictures
        return parse(PredictorEvaluation, found, "summary"), best
    rows = np.array(sorted(seen), np.int64)
    values = np.array([seen[row] for row in rows.tolist()], np.float32).reshape(len(rows), -1)
    single = predictor.link == "softmax"
    predicted = gallery.predicted_sets(values, data.classes, THRESHOLD, single)
    pictures = gallery.examples(data, rows, predicted)
    return replace(parse(PredictorEvaluation, found, "summary"), examples=pictures), best
