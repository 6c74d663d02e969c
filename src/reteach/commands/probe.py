"""``reteach probe compression RUN …``: what the features of trained networks still hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from ..analysis.compression import features, fit_random_labels
from ..data.dataset import Dataset
from ..data.sources.base import open_source
from ..errors import UserError
from ..files import write_json
from ..options.probe import CompressionOptions
from ..progress import progress
from ..runs import config
from ..runs.checkpoint import load_models
from ..runs.inputs import labelled_dataset, open_inputs
from ..unreadable import Unreadable, left_out, unreadable


@final
@dataclass(frozen=True)
class CompressionResult:
    """How well random labels could be fitted.

    Args:
        epochs: passes over the images.
        accuracy: run folder -> for each seed the training accuracy after each epoch.
        unreadable: what could not be read; listed beside ``out``, or else in the first run folder.
        out: the JSON file of the same, where one was asked for.
    """

    epochs: int
    accuracy: dict[str, list[list[float]]]
    unreadable: Unreadable
    out: Path | None = None

    def lines(self) -> Iterator[str]:
        """Each run's last accuracy, over the seeds."""
        yield "training accuracy on random binary labels (lower: better compressed)"
        for folder, curves in self.accuracy.items():
            last = [100 * curve[-1] for curve in curves]
            mean = sum(last) / len(last)
            spread = f" ({min(last):.1f} to {max(last):.1f})" if len(last) > 1 else ""
            yield f"{folder}: {mean:.1f}%{spread}"


def compression(options: CompressionOptions) -> CompressionResult:
    """Fit a perceptron to random labels on each run's features.

    Raises:
        UserError: no such run or model, or labels without images.
    """
    broken: dict[str, str] = {}
    accuracy = {str(folder): _curves(options, folder, broken) for folder in options.run_folders}
    if options.out is not None:
        write_json(options.out, {"epochs": options.epochs, "accuracy": accuracy})
    lost = unreadable(options.out or options.run_folders[0] / "compression.json", broken)
    return CompressionResult(options.epochs, accuracy, lost, options.out)


def _curves(options: CompressionOptions, folder: Path, broken: dict[str, str]) -> list[list[float]]:
    saved = load_models(folder, options.device)
    _, predictor = saved.named(options.predictor)
    data = _images(options, folder, broken)
    if options.classes:
        data = data.restrict(data.classes[: options.classes])
    data = data.subset(slice(options.most))
    x = features(predictor.models[0], replace(saved.scan(data, 256, 0), broken=broken))
    curves = []
    with progress("fitting random labels", options.seeds) as on_progress:
        for seed in range(options.seeds):
            curves.append(fit_random_labels(x, options.epochs, seed).tolist())
            on_progress(seed + 1)
    return curves


def _images(options: CompressionOptions, folder: Path, broken: dict[str, str]) -> Dataset:
    """The images that were asked for, or the run's own."""
    if options.images is not None:
        source = open_source(options.images)
        broken.update(left_out(source))
        return labelled_dataset(source, options.labels, options.images)
    if options.labels is not None:
        raise UserError("--labels needs --images: the images that it labels")
    run = config.load(folder / "config.yaml")
    inputs = open_inputs(run.data, run.training.seed)
    broken.update(inputs.quarantine)
    return inputs.train
