"""From a configuration and its inputs to what a method needs: networks, streams, scans, a budget."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.backends import cpu

from ..data.dataset import Dataset
from ..data.loading.batch import Normalize
from ..data.sources.base import ArraySource
from ..engine.collapse import CollapseRule, rule_for
from ..engine.evaluate import Evaluation, Evaluator
from ..engine.setup import Frozen, Setup, validated_by
from ..errors import UserError
from ..features.extractor import expected_interpolation
from ..labels import Multi
from ..models import zoo
from ..models.class_tokens import read_vectors
from ..options import shared as options
from ..options.methods import METHODS
from ..options.shared import refuse_unused
from ..processes import decoders
from . import config as configs
from . import fine_tuning
from .checkpoint import load_models
from .checks import (
    check_epochs,
    check_features,
    check_fine_tuning,
    check_labels,
    check_shards,
    clip_frames,
)
from .decoded import decoded
from .frozen import frozen_backbone, head_of, on_features
from .head_choice import choice_for
from .inputs import Inputs
from .networks import Networks
from .sizes import chosen_size, misfit, sizes_of


def load_recipe(recipe: str) -> Any:
    """The function that trains a method: of "module:function", or of a package "python:module:function"."""
    *own, module, function = recipe.split(":")
    return getattr(
        importlib.import_module(module if own else f"reteach.methods.{module}"), function
    )


def make_setup(
    config: configs.Config,
    inputs: Inputs,
    device: torch.device,
    judge: Evaluator | None = None,
    resize: options.Resize | None = None,
    folder: Path | None = None,
    choose: bool = True,
) -> Setup:
    """Learners, streams and scans for these inputs.

    Args:
        judge: by default of the validation images.
        resize: where --resize is not given; by default what suits the labels.
        folder: of the run, where --freeze keeps how the features were made, and a linear probe is kept, so
            that a resumed run need not fit it again.
        choose: rate and weight decay of a head where they are open, by all of the given labels. Who holds
            some of these out has the usual ones, and ``tune`` of the result to choose by the others.
    """
    backbone = None
    if config.model.freeze:
        usual = resize or usual_resize(inputs.train)
        backbone = frozen_backbone(config, inputs, device, usual, folder)
        config, inputs = head_of(config), on_features(backbone, inputs)
    refuse_unused(config.model, "without --freeze", "features_cache")
    data, model, training = config.data, config.model, config.training
    if training.steps is not None:
        refuse_unused(training, "beside --steps, which says how long", "epochs")
    check_labels(config.method, inputs.train)
    check_epochs(data, inputs.train)
    check_shards(data, training.batch_size, inputs)
    source = inputs.train.source
    channels = source.channels if isinstance(source, ArraySource) else 3
    array = isinstance(source, ArraySource)
    frames = clip_frames(model, training, inputs)
    check_features(model, training, inputs)
    sizes, tuned = sizes_of(inputs.train), fine_tuning.fine_tuned(model)
    image_size = chosen_size(model, inputs.train, sizes, fine_tuned=tuned, resident=data.resident)
    resize = model.resize or resize or usual_resize(inputs.train)
    own = model.image_size is None and sizes is not None and sizes.small == image_size
    if own and not array:  # small images as they are, whatever they come in
        resize = model.resize or "square"
        if training.augment == "auto":
            training = replace(training, augment="none")
    if frames is not None:
        refuse_unused(model, "on videos, whose shorter side is resized", "resize")
        resize = "shorter"
    elif image_size is None:
        refuse_unused(model, "on arrays, which keep their size without --image-size", "resize")
        resize = "shorter"
    classes = inputs.train.classes
    vectors = None if model.vectors is None else read_vectors(model.vectors, classes)
    build = Networks(model, classes, channels, image_size, frames, str(device), vectors)
    first = build(0)  # also refuses a bad --model or --init before anything else happens
    probed = fine_tuning.probes_first(model, first)
    check_fine_tuning(model, training, first)
    chosen: dict[str, float] = {}
    if fine_tuning.fine_tuned(model):
        training, chosen = fine_tuning.fine_tuning(training, first, settled=model.probe_first)
    training = fine_tuning.from_scratch(training)
    mean, std = zoo.normalisation(first, channels)
    by = expected_interpolation(model, first)
    prepare = Normalize(mean, std, channels, str(device), model.channels_last, by)
    images = images_taught(config, inputs)
    total = steps_of(data, training, images)
    recipe = load_recipe(METHODS[config.method].recipe)
    head = choice_for(config, inputs.train, total, folder, recipe) if choose else None
    untuned = training
    if head is not None:
        training = replace(training, lr=head.lr, weight_decay=head.weight_decay)
    per_epoch = data.balanced_epoch or max(1, images // training.batch_size)
    every = config.output.eval_every or max(per_epoch, -(-total // 50))
    setup = Setup(
        train=decoded(inputs.train, image_size, data, device, by),
        judge=judge,
        build=build,
        frozen=partial(frozen, classes=inputs.train.classes, device=device),
        model=model,
        training=training,
        given=config.training,
        image_size=image_size,
        frames=frames,
        resize=resize,
        prepare=prepare,
        total=total,
        seed=training.seed,
        unlabeled=inputs.unlabeled,
        rebalance=data.rebalance,
        balanced_epoch=data.balanced_epoch,
        shuffle_shards=data.shuffle_shards,
        eval_every=every,
        workers=0 if array or data.cache else decoders(data.workers),
        batch_norm=fine_tuning.statistics(model, len(inputs.train)),
        probe=("softmax" if METHODS[config.method].labels == "one" else "sigmoid")
        if probed
        else None,
        keep=None if folder is None else folder / "probe",
        backbone=backbone,
        tune=partial(_tuned, config, untuned, recipe),
        collapse=_collapse(config, inputs.train),
    )
    if judge is None and inputs.val is not None and len(inputs.val):
        judged = {"val": inputs.val, **inputs.also}
        each = tuple(Evaluation(name, setup.scan(one)) for name, one in judged.items())
        setup = replace(setup, judge=Evaluator(each))
    if not setup.crops:
        refuse_unused(config.training, "without --augment crop", "min_crop")
        chosen.pop("min_crop", None)
    if chosen:
        setup.choose(fine_tuning.kind_of(first), chosen)
    if frames is None and not setup.changes:
        refuse_unused(training, "without --augment crop or flip", "randaugment", "cutout")
    if wrong := misfit(model, image_size, sizes, fine_tuned=tuned):
        setup.warn(wrong)
    if head is not None:
        head.tell(setup, config.training)
    # below AVX-512 PyTorch has only a naive convolution in half precision
    if device.type == "cpu" and model.precision != "fp32" and cpu.get_cpu_capability() == "AVX2":
        setup.warn(
            f"this processor computes slowly in {model.precision}: --precision fp32 is faster"
        )
    return setup


def _collapse(config: configs.Config, train: Dataset) -> CollapseRule | None:
    """When a training of these labels has failed; None: the method has no label sets to drift with."""
    if not METHODS[config.method].collapses:
        return None
    labels = train.labels
    given = float(labels.counts().sum()) / max(1, int(labels.known().sum()))
    stop = config.training.on_collapse == "stop"
    return rule_for(len(train.classes), given, validated_by(labels), stop, config.settings)


def _tuned(
    config: configs.Config, usual: options.Training, recipe: Any, data: Dataset, total: int
) -> options.Training:
    """The settings for so many steps on some images, where rate and weight decay are open."""
    head = choice_for(config, data, total, None, recipe)
    return usual if head is None else replace(usual, lr=head.lr, weight_decay=head.weight_decay)


def frozen(
    path: Path, predictor: str | None = None, *, classes: tuple[str, ...], device: torch.device
) -> Frozen:
    """A model of a finished run, to learn from.

    Args:
        predictor: its name; by default the first.

    Raises:
        UserError: no finished run, no such model, or its classes are others.
    """
    saved = load_models(path, str(device))
    if saved.classes != classes:
        odd = sorted(set(saved.classes) ^ set(classes))
        detail = f"{odd[0]!r} is in one of them only" if odd else "they differ in order"
        raise UserError(f"{path} was trained on another class list: {detail}")
    _, model = saved.named(predictor)
    return Frozen(model, saved.image_size, saved.prepare, saved.frames, saved.resize)


def images_taught(config: configs.Config, inputs: Inputs) -> int:
    """The images of which an epoch is made: those without labels too, for methods that go by all."""
    more = inputs.unlabeled if METHODS[config.method].all_images else None
    return len(inputs.train) + (0 if more is None else len(more))


def steps_of(data: options.Data, training: options.Training, images: int) -> int:
    """Batches of the whole budget, of so many training images."""
    if training.steps is not None:
        return training.steps
    epoch = data.balanced_epoch or images / training.batch_size
    return max(1, round(training.epochs * epoch))


def usual_resize(dataset: Dataset) -> options.Resize:
    """Whole photos where every object in them is labelled, the middle where one label names it."""
    return "square" if isinstance(dataset.labels, Multi) else "shorter"
