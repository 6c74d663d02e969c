"""The optimiser and the learning rate that the settings of a training ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..models.blocks import rate_scales
from ..models.heads import classifier_of
from ..options import shared as options
from ..schedules import Constant, Cosine, Drop, Drops, MultiStep, Schedule, Warmup, linear_scaling

if TYPE_CHECKING:
    pass


def optimizer_of(model: nn.Module, training: options.Training) -> torch.optim.Optimizer:
    """The optimiser, without weight decay on biases and normalisation; the head in its own groups."""
    decay = weight_decay_of(training)
    head: set[int] = set()
    of_head = 1.0 if training.head_lr_scale is None else training.head_lr_scale
    if of_head != 1:
        head = {id(p) for p in classifier_of(model).parameters()}
    scales = (
        rate_scales(model, training.layer_decay) if training.layer_decay not in (None, 1) else {}
    )
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = scales.get(name, 1.0) * (of_head if id(parameter) in head else 1.0)
            groups.setdefault((parameter.dim() > 1, scale), []).append(parameter)
    settings: list[dict[str, Any]] = [
        {
            "params": parameters,
            "weight_decay": decay if wide else 0.0,
            "lr_scale": scale,
        }
        for (wide, scale), parameters in groups.items()
    ]
    if training.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=0.1, momentum=0.9, nesterov=training.nesterov)
    adam = torch.optim.Adam if training.optimizer == "adam" else torch.optim.AdamW
    return adam(settings, lr=1e-3)


def weight_decay_of(training: options.Training) -> float:
    """``--weight-decay``, or what suits the optimiser."""
    if training.weight_decay is not None:
        return training.weight_decay
    return {"sgd": 1e-4, "adam": 0.0, "adamw": 0.05}[training.optimizer]


def peak_of(training: options.Training) -> float:
    """The highest learning rate: ``--lr``, or what suits optimiser and batch."""
    peak = training.lr
    if peak is None:
        peak = 1e-3
        if training.optimizer == "sgd":
            peak = linear_scaling(0.1, training.batch_size)
    return peak


def schedule_of(training: options.Training, steps: int) -> Schedule:
    """The learning rate over ``steps`` steps."""
    peak = peak_of(training)
    schedule: Schedule
    if training.schedule == "constant":
        schedule = Constant(peak)
    elif training.schedule == "cosine":
        schedule = Cosine(peak, steps)
    elif training.schedule == "drop":
        schedule = Drop(peak, round(training.drop_at * steps))
    elif training.schedule == "drops":
        schedule = Drops(peak, steps, 3, 0.1)
    elif training.schedule == "multistep":
        schedule = MultiStep(peak, tuple(round(at * steps) for at in training.milestones))
    else:
        schedule = Drops(peak, steps, 13, 0.5)
    rise = round((training.warmup or 0.0) * steps)
    return Warmup(schedule, rise) if rise else schedule
