"""``reteach calibrate``: scores of images that were not learned from, and a map beside the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import sealed
from ..data.dataset import Dataset
from ..data.loading.stream import Scan
from ..data.sources.base import open_source
from ..engine.evaluate import outputs
from ..engine.run import Run
from ..errors import Interrupted, UserError
from ..labels import Rows, Single
from ..methods.clean import held_out_scores
from ..models.presence import odds
from ..options.methods import METHODS
from ..processes import decoders
from ..progress import progress
from ..relabel.calibration import presence
from ..relabel.calibration.logit_histogram import LogitHistogram
from ..report.pages.calibration import write_calibration
from ..runs import config as configs
from ..runs.checkpoint import TrainedModel, load_models, presence_file
from ..runs.inputs import open_inputs
from ..runs.originals import originals_of
from ..runs.setup import load_recipe, make_setup
from ..tables import read_labels
from .clean import split_of

if TYPE_CHECKING:
    from ..options.calibrate import CalibrateOptions

_SURE = 1e-7
"""How near to 0 and 1 a float32 probability is taken at its word."""


def calibrate(command: CalibrateOptions) -> Iterator[str]:
    """Do it; yields the lines to print.

    Raises:
        UserError: no images to look at, scores that cannot be calibrated, or none that tell present from
            absent (the page is then written all the same).
    """
    saved = load_models(command.run_folder, command.device, calibrated=False)
    name, predictor = saved.named(command.predictor)
    if len(saved.classes) < 2:
        raise UserError("calibration is about which classes are present: it needs two or more")
    histogram = LogitHistogram(saved.classes)
    for scores, named in _scores(command, saved, name):
        histogram.add(scores, named)
    found = presence.calibrate(
        histogram,
        predictor.link,
        scope=command.scope,
        present=None if command.present == "auto" else int(command.present),
        expected=command.expected,
        prior_strength=command.prior_strength,
    )
    page = command.report or command.run_folder / "calibration.html"
    write_calibration(page, found, f"{saved.method}, {command.run_folder.name}")
    if found.warnings and not command.anyway:
        raise UserError(
            f"the scores cannot tell present from absent: {'; '.join(found.warnings)}. Nothing was "
            f"stored, see {page}; more images, --folds or --expected may help, --anyway stores it"
        )
    file = presence_file(command.run_folder, name)
    sealed.write_json(file, presence.plain(found), indent=None)
    source = "labels" if found.named >= presence.FEW else "the model's own probabilities for"
    yield (
        f"{found.images} images, {source} {found.named or found.images} of them: "
        f"{found.labels_per_image:.2f} labels per image, {found.predicted:.2f} of them above 0.5"
    )
    yield from (f"but: {doubt}" for doubt in found.warnings)
    yield f"calibration: {file} (predict and evaluate use it; delete it to go back)"
    yield f"report: {page}"


def _scores(
    command: CalibrateOptions, saved: TrainedModel, name: str
) -> Iterable[tuple[NDArray[np.float32], Rows]]:
    """(log-odds (B, C), the named class (B,) or -1) of images that the model has not learned from."""
    if command.folds:
        return _held_out(command, saved)
    data = _given(command, saved) if command.images is not None else _validation(command, saved)
    scan = saved.scan(data, command.batch_size, decoders(command.workers))
    return _scanned(scan, saved, name)


def _scanned(
    scan: Scan, saved: TrainedModel, name: str
) -> Iterator[tuple[NDArray[np.float32], Rows]]:
    predictor = saved.predictors[name]
    labels = scan.dataset.labels
    assert isinstance(labels, Single)

    def of(x: Tensor) -> Tensor:
        return odds(predictor.logits(x), predictor.link)

    with progress("scoring", len(scan.dataset)) as show:
        done = 0
        for rows, out in outputs(of, scan):
            done += len(rows)
            show(done)
            yield out.cpu().numpy(), labels.index[rows]


def _given(command: CalibrateOptions, saved: TrainedModel) -> Dataset:
    """The images that were asked for, with the single labels that are known of them."""
    assert command.images is not None
    source = open_source(command.images)
    data = Dataset.unlabeled(source, saved.classes)
    if command.labels is not None:
        table = read_labels(command.labels, kind="single", classes=saved.classes)
        return data.with_labels(table.aligned(source.items, str(command.labels)))
    if source.class_of is not None:
        at = {name: i for i, name in enumerate(saved.classes)}
        index = np.array([at.get(name, -1) for name in source.class_of], np.int64)
        return data.with_labels(Single(index, saved.classes))
    return data


def _validation(command: CalibrateOptions, saved: TrainedModel) -> Dataset:
    """The run's own validation images. Label sets are not looked at."""
    config = configs.load(command.run_folder / "config.yaml")
    inputs = open_inputs(config.data, config.training.seed, originals_of(command.run_folder))
    if inputs.val is None or not len(inputs.val):
        raise UserError(
            f"{command.run_folder} has no validation images: name others with --images, or --folds 5"
        )
    val = inputs.val
    if isinstance(val.labels, Single):
        return val
    return val.with_labels(Single(np.full(len(val), -1), saved.classes))


def _held_out(
    command: CalibrateOptions, saved: TrainedModel
) -> Iterator[tuple[NDArray[np.float32], Rows]]:
    """Scores of the training images by models that were trained without them."""
    config = configs.load(command.run_folder / "config.yaml")
    inputs = open_inputs(config.data, config.training.seed, originals_of(command.run_folder))
    data = inputs.train
    if not isinstance(data.labels, Single):
        raise UserError("--folds needs training images with one label each")
    setup = make_setup(config, inputs, torch.device(saved.prepare.device))
    run = Run(command.run_folder / "calibration", config.training.seed)
    settings = {"images": data, "folds": command.folds}
    split = run.once("split", lambda: split_of(data, command.folds, config), **settings)
    recipe = load_recipe(METHODS[config.method].recipe)
    try:
        scores = held_out_scores(setup, recipe, config.settings, split["fold"], run)
    except Interrupted as error:
        raise Interrupted(f"{error}; to go on, give the same command again") from None
    readable = np.isfinite(scores[:, 0])
    p = np.clip(scores[readable].astype(np.float64), _SURE, 1 - _SURE)
    yield (np.log(p) - np.log1p(-p)).astype(np.float32), data.labels.index[readable]
