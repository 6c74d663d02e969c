"""``reteach transfer``: how well what a run has learned serves on other images (Yalniz et al. 2019, 5.2).

*full-ft* fine-tunes the whole network under a fresh output layer: a run of ``softmax`` that starts from
the weights, with the settings of the paper's Table 13 by default. Its table says "[100] × 3" drops in 300
epochs; here they are three equally spaced drops by 0.1, as in the paper's fine-tuning on ImageNet.

*fc-only* keeps the network as it is and puts a logistic regression in place of its output layer; see
:mod:`reteach.analysis.regression`. Of a model of several networks the first counts.

Both end in a run folder that ``reteach predict``, ``evaluate`` and ``score`` take, and are judged on
images that neither learning nor the choice of the regularisation has seen.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

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
from ..labels import Single
from ..models import export, zoo
from ..models.heads import classifier_of
from ..options import shared as options
from ..options.methods import SoftmaxOptions
from ..processes import decoders
from ..progress import progress
from ..relabel.noise.folds import stratified_folds
from ..runs.checkpoint import TrainedModel, load_models, save_models
from ..runs.config import Config
from ..runs.inputs import Inputs, open_inputs
from ..runs.train import train
from ..schedules import linear_scaling

RATE = 0.0025
"""Per 256 images (Table 13)."""


def full_ft(
    folder: Path,
    predictor: str | None,
    data: options.Data,
    training: options.Training,
    output: options.Output,
    device: str,
) -> Path:
    """Fine-tune everything; returns the run folder."""
    saved = load_models(folder, "cpu")
    place, info = _place(folder, saved, predictor)
    rate = linear_scaling(RATE, training.batch_size) if training.lr is None else training.lr
    config = Config(
        "softmax",
        SoftmaxOptions(),
        data,
        options.Model(
            info.architecture,
            image_size=saved.image_size,
            resize=saved.resize if saved.image_size and not saved.frames else None,
            frames=saved.frames,
            init=place / "model.safetensors",
            device=device,
        ),
        replace(training, lr=rate),
        output,
    )
    return train(config)


def fc_only(
    folder: Path,
    predictor: str | None,
    data: options.Data,
    folds: int,
    seed: int,
    out: Path,
    device: str,
) -> dict[str, Any]:
    """Fit a logistic regression on frozen features; returns what ``transfer.json`` holds."""
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} exists and is not empty; use another --out")
    saved = load_models(folder, device)
    name, model = saved.named(predictor)
    _, info = _place(folder, saved, predictor)
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
    summary = Evaluation("val", given.scan(inputs.val, 256, decoders(data.workers)))(
        judged
    ).compute()
    found = {
        "run": str(folder),
        "predictor": name,
        "mode": "fc-only",
        "train": len(inputs.train),
        "val": len(inputs.val),
        "C": fitted.strength,
        "cross_validation": {f"{c:g}": value for c, value in fitted.accuracy.items()},
        "metrics": summary,
    }
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
        resize=saved.resize,
    )
    write_json(out / "transfer.json", found)
    return found


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
    saved: TrainedModel,
    inputs: Inputs,
    data: options.Data,
    folds: int,
    seed: int,
) -> Regression:
    labels = inputs.train.labels
    assert isinstance(labels, Single)
    x = _features(network, saved, inputs.train, decoders(data.workers))
    fold = stratified_folds(labels.index, np.arange(len(x)), folds, seed)
    with progress("logistic regression", len(GRID) * folds + 1) as tell:
        return logistic(x, labels.index, labels.num_classes, fold, tell)


def _features(
    network: nn.Module, saved: TrainedModel, data: Dataset, decoders: int
) -> np.ndarray[Any, Any]:
    scan = saved.scan(data, 256, decoders)
    found = features(network, scan).numpy()
    if len(found) < len(data):
        item, reason = next(iter(scan.broken.items()))
        raise UserError(f"image {item!r} cannot be read any more ({reason})")
    return found


def _place(folder: Path, saved: TrainedModel, predictor: str | None) -> tuple[Path, export.Info]:
    """Where a run's network is, and what is known of it."""
    name, model = saved.named(predictor)
    place = folder / "models" / (name if len(model.models) == 1 else f"{name}-1")
    return place, export.read_info(place)
