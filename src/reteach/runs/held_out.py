"""What ``reteach advise`` learns by training: held-out scores, the fit, and classes per image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..analysis import facts as measured
from ..analysis.facts import ShareRange
from ..data.dataset import Dataset
from ..duplicates.looks import definition
from ..engine.algorithm import Algorithm
from ..engine.evaluate import scores
from ..engine.run import Run
from ..engine.setup import Setup
from ..errors import UserError
from ..labels import Single
from ..methods.clean import held_out_scores
from ..options.advise import AdviseOptions
from ..options.methods import METHODS, SigmoidOptions
from ..recorded import recorded
from ..relabel.calibration import presence
from ..relabel.calibration.logit_histogram import LogitHistogram
from .checkpoint import choose_device
from .config import Config
from .folds import split_of
from .gallery import sample_rows
from .inputs import Inputs
from .label_judge import Probe
from .setup import load_recipe, make_setup

SAMPLE = 2000
"""Images of each fold's training on which its fit is looked at."""
FOLDS, HEAD_FOLDS = 4, 8
_SURE = 1e-7


def folds_of(options: AdviseOptions, probe: Probe) -> int:
    """Heads are cheap, and of few images each should learn from nearly all."""
    used = int(np.count_nonzero(probe.data.labels.counts()))
    many = probe.on_features and len(probe.data) >= HEAD_FOLDS * used
    return options.folds or (HEAD_FOLDS if many else FOLDS)


def check_enough(data: Dataset, folds: int) -> None:
    """Refuse to hold out folds of so few images that a class would be missing."""
    if not isinstance(data.labels, Single):
        return
    used = int(np.count_nonzero(data.labels.counts()))
    if len(data) < folds * used:
        raise UserError(
            f"{len(data)} labelled images are too few to hold out {folds} folds of {used} classes: "
            f"{folds * used} are needed; lower --folds, or label more"
        )


def look_at(
    options: AdviseOptions,
    config: Config,
    folder: Path,
    inputs: Inputs,
    probe: Probe,
    folds: int,
) -> tuple[NDArray[np.float32] | None, float | None, ShareRange | None]:
    """Held-out scores (N, C), the fit of what was learned, and classes per image."""
    data = probe.data
    if not isinstance(data.labels, Single):
        sizes = np.bincount(data.labels.pairs()[0], minlength=len(data))
        mean, error = float(sizes.mean()), float(sizes.std() / len(sizes) ** 0.5)
        return None, None, ShareRange(mean, mean - 2 * error, mean + 2 * error)
    setup = make_setup(config, replace(inputs, train=data), choose_device("auto"))
    run = Run(folder, options.seed)
    split = run.once(
        "split",
        lambda: split_of(data, folds, config),
        images=data,
        folds=folds,
        copies=definition(data.source),
    )
    recipe = Watched(load_recipe(METHODS["softmax"].recipe))
    held = held_out_scores(setup, recipe, config.settings, split["fold"], run)
    fits = [float(np.load(file)) for file in sorted(folder.glob("folds/*/fitted.npy"))]
    asked = options.multi_label != "no"  # who knows that there is one does not want an estimate
    per_image = _per_image(held, data.labels, "softmax") if asked else None
    many = per_image is not None and per_image.low > measured.SEVERAL
    if probe.on_features and many and options.multi_label != "yes":
        per_image = None  # there sigmoids, too, take 40% of wrong labels for five classes per image
    elif options.multi_label == "yes" or many:
        # softmax shares its probability out among the classes of an image: ask sigmoids how many. Where
        # they cannot tell, nothing is claimed: many wrong labels look like several classes to softmax
        other = Run(folder / "sigmoid", options.seed)
        sigmoid = load_recipe(METHODS["sigmoid"].recipe)
        second = held_out_scores(setup, sigmoid, SigmoidOptions(), split["fold"], other)
        per_image = _per_image(second, data.labels, "sigmoid")
    inputs.quarantine.update(setup.broken)
    return held, float(np.mean(fits)), per_image


@final
@recorded("watched-recipe")
@dataclass(frozen=True)
class Watched:
    """A recipe that leaves behind how well the trained model fits what it learned from."""

    recipe: Any

    def __call__(self, setup: Setup, settings: Any, run: Run) -> Algorithm:
        algorithm: Algorithm = self.recipe(setup, settings, run)
        data = setup.train.subset(sample_rows(len(setup.train), SAMPLE))
        assert isinstance(data.labels, Single)
        rows, seen = scores(next(iter(algorithm.predictors().values())), setup.scan(data))
        if run.folder is not None:
            run.folder.mkdir(parents=True, exist_ok=True)
            np.save(run.folder / "fitted.npy", (seen.argmax(1) == data.labels.index[rows]).mean())
        return algorithm


def _per_image(held: NDArray[np.float32], labels: Single, link: Any) -> ShareRange | None:
    """Classes per image from calibrated held-out scores; None where they cannot tell."""
    readable = np.isfinite(held[:, 0])
    p = np.clip(held[readable].astype(np.float64), _SURE, 1 - _SURE)
    histogram = LogitHistogram(labels.classes)
    histogram.add((np.log(p) - np.log1p(-p)).astype(np.float32), labels.index[readable])
    try:
        calibration = presence.calibrate(histogram, link)
    except UserError:
        return None
    if calibration.warnings:
        return None
    mean = calibration.labels_per_image
    return ShareRange(mean, *sorted([*calibration.range, mean])[::2])
