"""``reteach calibrate``: scores of images that were not learned from, and a map beside the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

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
from ..inline import InNotebook
from ..item_index import rows_among
from ..labels import LabelSet, Multi, Rows, Single, Soft
from ..methods.clean import held_out_scores
from ..models.presence import odds
from ..options.calibrate import CalibrateOptions
from ..options.methods import METHODS
from ..processes import decoders
from ..progress import progress
from ..relabel.calibration import presence
from ..relabel.calibration.logit_histogram import LogitHistogram
from ..report.pages.calibration import write_calibration
from ..runs import config as configs
from ..runs.checkpoint import LoadedModels, load_models, presence_file
from ..runs.folds import split_of
from ..runs.inputs import open_inputs
from ..runs.originals import originals_of
from ..runs.setup import load_recipe, make_setup
from ..tables import read_labels
from ..unreadable import Unreadable, left_out, unreadable

FEWEST_SETS = 20
"""Images with all labels from which their mean number is taken."""
_SURE = 1e-7
"""How near to 0 and 1 a float32 probability is taken at its word."""


@final
@dataclass(frozen=True)
class CalibrateResult(InNotebook):
    """A calibration that is in use from now on.

    Args:
        calibration: the file that predict and evaluate read.
        report: the page.
        images: images that were looked at.
        named: how many of them have a label.
        labels_per_image: estimated mean number of classes that are present.
        predicted: mean number of classes above 0.5.
        half: the probability of presence that a score of 0.5 stands for.
        warnings: why the scores may not tell present from absent.
        classes: C.
        unreadable: what could not be read.
    """

    calibration: Path
    report: Path
    images: int
    named: int
    labels_per_image: float
    predicted: float
    half: float
    warnings: tuple[str, ...]
    unreadable: Unreadable
    classes: int

    @property
    def trivial(self) -> str | None:
        """What is said where the calibrated model would name no class, or all of them; else None."""
        if self.predicted < 0.005:
            return "no class passes 0.5 on any image: predict needs a lower --threshold"
        if self.classes > 2 and self.predicted > 0.9 * self.classes:
            return (
                f"{self.predicted:.1f} of {self.classes} classes pass 0.5: predict would name nearly all of "
                "them; give --expected, or train again"
            )
        return None

    def lines(self) -> Iterator[str]:
        """What was found, what speaks against it, and where it is."""
        source = "labels" if self.named >= presence.FEW else "the model's own probabilities for"
        yield (
            f"{self.images} images, {source} {self.named or self.images} of them: "
            f"{self.labels_per_image:.2f} labels per image, {self.predicted:.2f} above 0.5"
        )
        if self.half != 0.5:
            yield (
                "as many labels pass a score of 0.5 as are expected; it stands for a probability of presence "
                f"of {self.half:.2f} (--half presence keeps probabilities)"
            )
        yield from (f"but: {doubt}" for doubt in self.warnings)
        if (trivial := self.trivial) is not None:
            yield f"but: {trivial}"
        yield f"calibration: {self.calibration} (predict and evaluate use it; delete it to go back)"
        yield f"report: {self.report}"


def calibrate(options: CalibrateOptions) -> CalibrateResult:
    """Calibrate one of a run's models, and keep the map beside its weights.

    Raises:
        UserError: no images to look at, scores that cannot be calibrated, or none that tell present from
            absent (the page is then written all the same).
    """
    saved = load_models(options.run_folder, options.device, calibrated=False)
    name, predictor = saved.named(options.predictor)
    if len(saved.classes) < 2:
        raise UserError("calibration is about which classes are present: it needs two or more")
    expected = _expected(options, saved.classes)
    histogram = LogitHistogram(saved.classes)
    broken: dict[str, str] = {}
    for scores, named in _scores(options, saved, name, broken):
        histogram.add(scores, named)
    calibration = presence.calibrate(
        histogram,
        predictor.link,
        scope=options.scope,
        present=None if options.present == "auto" else int(options.present),
        expected=expected,
        prior_strength=options.prior_strength,
        half=options.half,
    )
    page = options.report or options.run_folder / "calibration.html"
    write_calibration(page, calibration, f"{saved.method}, {options.run_folder.name}")
    lost = unreadable(page, broken)
    # who says how many labels an image has gives what the data lack: that is worth storing, with a warning
    wanted = options.anyway or expected is not None
    if calibration.warnings and not wanted:
        raise UserError(
            f"the scores cannot tell present from absent: {'; '.join(calibration.warnings)}. Nothing was "
            f"stored, see {page}; --expected with the number of labels per image, where you know it, stores "
            "it with a warning; more images or --folds may help; --anyway stores it as it is"
        )
    file = presence_file(options.run_folder, name)
    sealed.write_json(file, presence.plain(calibration), indent=None)
    return CalibrateResult(
        file,
        page,
        calibration.images,
        calibration.named,
        calibration.labels_per_image,
        calibration.predicted,
        calibration.half,
        tuple(calibration.warnings),
        lost,
        len(saved.classes),
    )


def _expected(options: CalibrateOptions, classes: tuple[str, ...]) -> float | None:
    """Labels per image, where they are known.

    Raises:
        UserError: a table of other labels than whole sets of these classes, or of too few images.
    """
    if options.label_sets is None:
        return options.expected
    table = read_labels(options.label_sets, classes=classes)
    if not isinstance(table.labels, Multi) or table.labels.unknown is not None:
        raise UserError(
            f"--label-sets {options.label_sets}: these are not all labels of each image"
        )
    if len(table.items) < FEWEST_SETS:
        raise UserError(
            f"--label-sets {options.label_sets}: {len(table.items)} images are too few to say how many "
            f"labels an image has; label {FEWEST_SETS}"
        )
    return float(table.labels.present().sum(1).mean())


def _scores(
    options: CalibrateOptions, saved: LoadedModels, name: str, broken: dict[str, str]
) -> Iterable[tuple[NDArray[np.float32], Rows]]:
    """(log-odds (B, C), the named class (B,) or -1) of images that the model has not learned from.

    Args:
        broken: collects item -> reason of what cannot be read.
    """
    if options.folds:
        return _held_out(options, saved, broken)
    of = _given if options.images is not None else _validation
    data = of(options, saved, broken)
    scan = saved.scan(data, options.batch_size, decoders(options.workers))
    return _scanned(replace(scan, broken=broken), saved, name)


def _scanned(
    scan: Scan, saved: LoadedModels, name: str
) -> Iterator[tuple[NDArray[np.float32], Rows]]:
    predictor = saved.predictors[name]
    labels = scan.dataset.labels
    assert isinstance(labels, Single)

    def of(x: Tensor) -> Tensor:
        return odds(predictor.logits(x), predictor.link)

    with progress("scoring", len(scan.dataset)) as on_progress:
        done = 0
        for rows, out in outputs(of, scan):
            done += len(rows)
            on_progress(done)
            yield out.cpu().numpy(), labels.index[rows]


def _given(options: CalibrateOptions, saved: LoadedModels, broken: dict[str, str]) -> Dataset:
    """The images that were asked for, with the single labels that are known of them."""
    assert options.images is not None
    source = open_source(options.images)
    broken.update(left_out(source))
    data = Dataset.unlabeled(source, saved.classes)
    if options.labels is not None:
        table = read_labels(options.labels, kind="single", classes=saved.classes)
        return data.with_labels(table.aligned(source.items, str(options.labels)))
    if source.class_of is not None:
        index = rows_among(source.class_of, saved.classes)
        return data.with_labels(Single(index, saved.classes))
    return data


def _validation(options: CalibrateOptions, saved: LoadedModels, broken: dict[str, str]) -> Dataset:
    """The run's own validation images. Label sets are not looked at."""
    config = configs.load(options.run_folder / "config.yaml")
    inputs = open_inputs(config.data, config.training.seed, originals_of(options.run_folder))
    broken.update(inputs.quarantine)
    if inputs.val is None or not len(inputs.val):
        raise UserError(
            f"{options.run_folder} has no validation images: name others with --images, or --folds 5"
        )
    return inputs.val.with_labels(_named(inputs.val.labels))


def _named(labels: LabelSet) -> Single:
    """The one class that each image is named after; -1 for label sets, and where several classes share it."""
    if isinstance(labels, Soft):
        return labels.sole()
    return (
        labels if isinstance(labels, Single) else Single(np.full(len(labels), -1), labels.classes)
    )


def _held_out(
    options: CalibrateOptions, saved: LoadedModels, broken: dict[str, str]
) -> Iterator[tuple[NDArray[np.float32], Rows]]:
    """Scores of the training images by models that were trained without them."""
    config = configs.load(options.run_folder / "config.yaml")
    inputs = open_inputs(config.data, config.training.seed, originals_of(options.run_folder))
    data = inputs.train
    if isinstance(data.labels, Multi):
        raise UserError(
            "--folds needs training images with one label each, or shares (--kind soft): what learned from "
            "label sets scores presence already; --images calibrates it on other images"
        )
    setup = make_setup(config, inputs, torch.device(saved.prepare.device), choose=False)
    run = Run(options.run_folder / "calibration", config.training.seed)
    settings = {"images": data, "folds": options.folds}
    split = run.once("split", lambda: split_of(data, options.folds, config), **settings)
    recipe = load_recipe(METHODS[config.method].recipe)
    try:
        scores = held_out_scores(setup, recipe, config.settings, split["fold"], run, tuned=True)
    except Interrupted as error:
        raise Interrupted(f"{error}; to go on, give the same command again") from None
    broken |= inputs.quarantine | setup.broken
    readable = np.isfinite(scores[:, 0])
    p = np.clip(scores[readable].astype(np.float64), _SURE, 1 - _SURE)
    yield (np.log(p) - np.log1p(-p)).astype(np.float32), _named(data.labels).index[readable]
