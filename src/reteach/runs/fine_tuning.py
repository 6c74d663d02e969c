"""What the settings that were left open are when training starts from weights: those of fine-tuning.

From scratch they stay as they are (:func:`from_scratch`). Rates are of the usual order for fine-tuning after
a linear probe; what was measured is in docs/photos.md.
"""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import Any

from torch import nn

from ..engine.learner import Statistics
from ..models import weights
from ..options.shared import Model, Training
from ..progress import note
from ..schedules import linear_scaling

RATES = {
    "convolutions": {"sgd": 0.002, "adam": 1e-4, "adamw": 1e-4},
    "transformer": {"sgd": 0.001, "adam": 5e-5, "adamw": 5e-5},
}
"""Highest rates by kind of network and optimiser; those of sgd per 256 images."""
DECAYS = {"sgd": 1e-4, "adam": 0.0, "adamw": 0.05}
CLIP = 1.0
"""Largest gradient norm: an output layer at its optimum has large weights, and sends large gradients through
the network, where a fresh one has small ones."""
FEW = 10_000
"""Up to so many training images the statistics of batch normalisation are kept."""


def fine_tuned(model: Model) -> bool:
    """Whether training starts from weights."""
    return model.pretrained or model.init is not None


def kind_of(network: nn.Module) -> str:
    """Transformers and their kin (ConvNeXt) have no batch normalisation, other networks have."""
    batch = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())
    layer = any(isinstance(m, nn.LayerNorm) for m in network.modules())
    return "transformer" if layer and not batch else "convolutions"


def probes_first(model: Model, network: nn.Module) -> bool:
    """Whether the output layer is brought to its optimum before training: where it is fresh."""
    if not model.probe_first or not fine_tuned(model):
        return False
    find: Any = getattr(network, "get_classifier", None)
    layer = None if find is None else find()
    if not isinstance(layer, nn.Linear):
        note(f"no linear probe before training: {model.model} does not end in one linear layer")
        return False
    if model.init is None:
        return True
    mine = {name for name, tensor in network.named_parameters() if tensor is layer.weight}
    return not mine & set(weights.load(copy.deepcopy(network), model.init).loaded)


def from_scratch(training: Training) -> Training:
    """The settings with those of training from scratch in place of what was left open."""
    usual = _open(training, warmup=0.0, head_lr_scale=1.0, layer_decay=1.0, min_crop=0.08)
    return _with(training, usual)


def fine_tuning(
    training: Training, network: nn.Module, *, settled: bool
) -> tuple[Training, dict[str, float]]:
    """The settings with those of fine-tuning in place of what was left open, and these alone.

    Args:
        network: with the weights that training starts from.
        settled: its output layer is no fresh one: it comes from a file, or from the linear probe.
    """
    kind, optimizer = kind_of(network), training.optimizer
    rate = RATES[kind][optimizer]
    chosen = _open(
        training,
        lr=linear_scaling(rate, training.batch_size) if optimizer == "sgd" else rate,
        weight_decay=DECAYS[optimizer],
        warmup=0.1,
        clip=CLIP,
        head_lr_scale=1.0 if settled else 10.0,
        min_crop=0.35,
    )
    if kind == "transformer" and hasattr(network, "group_matcher"):
        chosen |= _open(training, layer_decay=0.75)
    return _with(training, chosen), chosen


def statistics(model: Model, images: int) -> Statistics:
    """What becomes of the statistics of batch normalisation when so many images are trained on."""
    if model.batch_norm != "auto":
        return model.batch_norm
    return "keep" if fine_tuned(model) and images <= FEW else "update"


def _with(training: Training, values: dict[str, Any]) -> Training:
    return replace(training, **values)


def _open(training: Training, **values: float) -> dict[str, float]:
    """Those of the values whose setting was left open."""
    known = {field.name for field in fields(training)}
    assert values.keys() <= known
    return {name: value for name, value in values.items() if getattr(training, name) is None}
