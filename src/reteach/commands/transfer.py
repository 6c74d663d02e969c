"""``reteach transfer``: how well what a run has learned serves on other images (Yalniz et al. 2019, 5.2).

*full-ft* fine-tunes the whole network under a fresh output layer: a run of ``softmax`` that starts from
the weights, with the settings of the paper's Table 13 by default. Its table says "[100] × 3" drops in 300
epochs; here they are three equally spaced drops by 0.1, as in the paper's fine-tuning on ImageNet.

With ``--freeze`` that run trains the fresh output layer alone, on features that are computed once.

*fc-only* keeps the network as it is and puts a logistic regression in place of its output layer; see
:mod:`reteach.analysis.regression`. Of a model of several networks the first counts.

Both end in a run folder that ``reteach predict``, ``evaluate`` and ``score`` take, and are judged on
images that neither learning nor the choice of the regularisation has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

from ..analysis.compression import features
from ..analysis.regression import GRID, Regression, logistic
from ..data.dataset import Dataset
from ..engine.evaluate import Evaluation
from ..engine.learner import Predictor
from ..errors import UserError
from ..files import write_json
from ..inline import InNotebook
from ..labels import Single
from ..locks import entries, numbered_folder, only_writer
from ..models import export, zoo
from ..models.heads import classifier_of
from ..options.methods import SoftmaxOptions
from ..options.shared import Data, Model, Output, Training, refuse_unused
from ..options.transfer import TransferOptions, paper_training
from ..processes import decoders
from ..progress import progress
from ..records.runs import MODELS
from ..relabel.noise.folds import stratified_folds
from ..runs.checkpoint import LoadedModels, load_models, save_models
from ..runs.config import Config
from ..runs.inputs import Inputs, open_inputs
from ..runs.train import train
from ..schedules import linear_scaling
from ..structured import parse_json
from ..unreadable import Unreadable
from .lines import metric_lines
from .trained import TrainResult, next_lines

NUMBERS = "transfer.json"
RATE = 0.0025
"""Per 256 images (Table 13)."""


@final
@dataclass(frozen=True)
class TransferResult(InNotebook):
    """A logistic regression on frozen features.

    Args:
        folder: a run folder with the network under its new output layer.
        numbers: the JSON file.
        metrics: metric -> its value on the held-out images.
        strength: the regularisation that was chosen, C.
        cross_validation: C -> accuracy over the folds.
        folds: how many.
        val: held-out images.
        unreadable: what could not be read.
    """

    folder: Path
    numbers: Path
    metrics: dict[str, Any]
    strength: float
    cross_validation: dict[str, float]
    folds: int
    val: int
    unreadable: Unreadable

    def lines(self) -> Iterator[str]:
        """Each C's accuracy, the held-out metrics, and what to do next."""
        for strength, accuracy in self.cross_validation.items():
            yield f"C = {strength:>6}: {100 * accuracy:.1f}% over {self.folds} folds"
        title = f"{self.val} held-out images, C = {self.strength:g}"
        yield from metric_lines({"fc-only": self.metrics}, title)
        yield f"numbers: {self.numbers}"
        yield from next_lines(self.folder)


def transfer(options: TransferOptions) -> TrainResult | TransferResult:
    """Fine-tune a run's network on other classes, or fit a regression on its features.

    Raises:
        UserError: no such run or model, inputs that do not fit, or settings that the mode does not look at.
    """
    training = _training(options)
    return _full_ft(options, training) if options.mode == "full-ft" else _fc_only(options)


def _training(options: TransferOptions) -> Training:
    """The settings of the training; what the mode would not look at is refused."""
    data, training, why = options.data, options.training, f"with --mode {options.mode}"
    refuse_unused(data, why, "unlabeled")
    if options.mode == "full-ft":
        refuse_unused(options, why, "folds")
        if training.steps is None:
            return training
        why = "beside --steps, which says how long"
        refuse_unused(training, why, "epochs", usual=paper_training())
        return replace(training, epochs=Training.epochs)
    names = [f.name for f in fields(training) if f.name != "seed"]
    refuse_unused(training, why, *names, usual=paper_training())
    idle = "rebalance", "balanced_epoch", "shuffle_shards", "cache", "resident"
    refuse_unused(data, why, *idle)
    refuse_unused(options.output, why, *(f.name for f in fields(Output) if f.name != "out"))
    return training


def _full_ft(options: TransferOptions, training: Training) -> TrainResult:
    """Fine-tune everything, or with --freeze the output layer alone."""
    if options.freeze:
        frozen = Model(init=options.run_folder, freeze=True, device=options.device)
        return TrainResult.of(
            train(
                Config("softmax", SoftmaxOptions(), options.data, frozen, training, options.output)
            )
        )
    saved = load_models(options.run_folder, "cpu")
    place, info = _place(options.run_folder, saved, options.predictor)
    rate = linear_scaling(RATE, training.batch_size) if training.lr is None else training.lr
    config = Config(
        "softmax",
        SoftmaxOptions(),
        options.data,
        Model(
            info.architecture,
            image_size=saved.image_size,
            resize=saved.resize if saved.image_size and not saved.frames else None,
            frames=saved.frames,
            init=place / "model.safetensors",
            device=options.device,
        ),
        replace(training, lr=rate),
        options.output,
    )
    return TrainResult.of(train(config))


def _fc_only(options: TransferOptions) -> TransferResult:
    """Fit a logistic regression on frozen features."""
    given = options.output.out
    out = numbered_folder(Path("runs"), "transfer") if given is None else given
    with only_writer(out, worth=MODELS.name, made=given is None):
        if entries(out) and not _unfinished(out / NUMBERS):
            raise UserError(f"{out} exists and is not empty; use another --out")
        write_json(out / NUMBERS, {"finished": False})
        return _fitted(options, out)


def _unfinished(numbers: Path) -> bool:
    """Whether an attempt was killed here: it begins with this file and ends with another content."""
    try:
        return bool(parse_json(numbers.read_bytes()) == {"finished": False})
    except (OSError, ValueError):
        return False


def _fitted(options: TransferOptions, out: Path) -> TransferResult:
    data, folds, seed = options.data, options.folds, options.training.seed
    refuse_unused(data, "with --mode fc-only, which is judged once", "also_val")
    saved = load_models(options.run_folder, options.device)
    name, model = saved.named(options.predictor)
    _, info = _place(options.run_folder, saved, options.predictor)
    inputs = open_inputs(data, seed)
    if inputs.val is None or not len(inputs.val):
        raise UserError("a transfer is judged on images of its own: --val-… or --val-fraction")
    if not isinstance(inputs.train.labels, Single):
        raise UserError("fc-only needs one label per image, and these are label sets")
    network, classes = model.models[0], inputs.train.classes
    fitted = _regression(network, saved, inputs, data, folds, seed)
    new = with_head(network, info, classes, fitted, saved.image_size)
    device_of = saved.prepare.device
    judged = Predictor((new.to(device_of),), "softmax")
    given = replace(saved, predictors={"model": judged}, classes=classes)
    scan = given.scan(inputs.val, 256, decoders(data.workers))
    metrics = Evaluation("val", scan)(judged).compute()
    cross_validation = {f"{c:g}": value for c, value in fitted.accuracy.items()}
    save_models(
        out,
        given.predictors,
        architecture=info.architecture,
        classes=classes,
        image_size=saved.image_size,
        frames=saved.frames,
        prepare=saved.prepare,
        threshold=None,
        method="fc-only",
        features=saved.features,
        resize=saved.resize,
    )
    numbers = out / NUMBERS
    write_json(
        numbers,
        {
            "run": str(options.run_folder),
            "predictor": name,
            "mode": "fc-only",
            "train": len(inputs.train),
            "val": len(inputs.val),
            "C": fitted.strength,
            "cross_validation": cross_validation,
            "metrics": metrics,
        },
    )
    listing = out / "quarantine.csv"
    lost = Unreadable.of(listing, inputs.quarantine, scan.broken).listed(listing)
    return TransferResult(
        out, numbers, metrics, fitted.strength, cross_validation, folds, len(inputs.val), lost
    )


def with_head(
    network: nn.Module,
    info: export.Info,
    classes: tuple[str, ...],
    fitted: Regression,
    image_size: int | None,
) -> nn.Module:
    """The network with the regression as its output layer."""
    new = zoo.create(
        info.architecture,
        len(classes),
        in_chans=info.in_chans,
        image_size=image_size,
        seed=0,
        **info.model_args,
    )
    old, head = network.state_dict(), classifier_of(new)
    head_of = next(name for name, module in new.named_modules() if module is head)
    if tuple(head.weight.shape) != fitted.weight.shape or head.bias is None:
        raise UserError(
            f"the output layer of {info.architecture} does not see its features as they are"
        )
    body = {key: value for key, value in old.items() if not key.startswith(f"{head_of}.")}
    new.load_state_dict(body, strict=False)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(fitted.weight))
        head.bias.copy_(torch.from_numpy(fitted.bias))
    return new.eval()


def _regression(
    network: nn.Module,
    saved: LoadedModels,
    inputs: Inputs,
    data: Data,
    folds: int,
    seed: int,
) -> Regression:
    labels = inputs.train.labels
    assert isinstance(labels, Single)
    x = _features(network, saved, inputs.train, decoders(data.workers))
    fold = stratified_folds(labels.index, np.arange(len(x)), folds, seed)
    with progress("logistic regression", len(GRID) * folds + 1) as on_progress:
        return logistic(x, labels.index, labels.num_classes, fold, on_progress)


def _features(
    network: nn.Module, saved: LoadedModels, data: Dataset, decoders: int
) -> np.ndarray[Any, Any]:
    scan = saved.scan(data, 256, decoders)
    x = features(network, scan).numpy()
    if len(x) < len(data):
        item, reason = next(iter(scan.broken.items()))
        raise UserError(f"image {item!r} cannot be read any more ({reason})")
    return x


def _place(folder: Path, saved: LoadedModels, predictor: str | None) -> tuple[Path, export.Info]:
    """Where a run's network is, and what is known of it."""
    name, model = saved.named(predictor)
    place = folder / "models" / (name if len(model.models) == 1 else f"{name}-1")
    return place, export.read_info(place)
