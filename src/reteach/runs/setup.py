"""From a configuration and its inputs to what a method needs: networks, streams, scans, a budget."""

from __future__ import annotations

import copy
import importlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch.backends import cpu

from ..data.dataset import Dataset
from ..data.loading.batch import Normalize
from ..data.loading.cache import CachedSource
from ..data.loading.resident import ResidentSource
from ..data.sources.base import ArraySource, features_of, is_video, shrunk
from ..engine.evaluate import Evaluation, Evaluator
from ..engine.setup import Frozen, Setup
from ..errors import UserError
from ..features.extractor import expected_interpolation
from ..features.preprocessing import differing
from ..labels import Multi, Single, as_multi
from ..models import blocks, zoo
from ..models.class_tokens import read_vectors
from ..options import shared as options
from ..options.methods import METHODS
from ..options.shared import refuse_unused
from ..processes import decoders
from ..progress import note, progress
from . import config as configs
from . import fine_tuning
from .checkpoint import load_models
from .frozen import frozen_backbone, head_of, on_features
from .head_choice import choice_for
from .inputs import Inputs
from .sizes import chosen_size, misfit, sizes_of


def load_recipe(recipe: str) -> Any:
    """The function that trains a method, from "module:function"."""
    module, function = recipe.split(":")
    return getattr(importlib.import_module(f"reteach.methods.{module}"), function)


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
        choose: rate and weight decay of a head where they are open, by all of the given labels; who holds
            some of these out takes the usual ones.
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
    if training.schedule != "drop":
        refuse_unused(training, "without --schedule drop", "drop_at")
    if training.optimizer != "sgd":
        why = f"with --optimizer {training.optimizer}, which has no such momentum"
        refuse_unused(training, why, "nesterov")
    check_labels(config.method, inputs.train)
    check_epochs(data, inputs.train)
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
    total = training.steps
    if total is None:
        epoch = data.balanced_epoch or len(inputs.train) / training.batch_size
        total = max(1, round(training.epochs * epoch))
    head = choice_for(config, inputs.train, total, folder) if choose else None
    if head is not None:
        training = replace(training, lr=head.lr, weight_decay=head.weight_decay)
    per_epoch = data.balanced_epoch or max(1, len(inputs.train) // training.batch_size)
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
        eval_every=every,
        workers=0 if array or data.cache else decoders(data.workers),
        batch_norm=fine_tuning.statistics(model, len(inputs.train)),
        probe=("softmax" if METHODS[config.method].labels == "one" else "sigmoid")
        if probed
        else None,
        keep=None if folder is None else folder / "probe",
        backbone=backbone,
    )
    if judge is None and inputs.val is not None and len(inputs.val):
        setup = replace(setup, judge=Evaluator((Evaluation("val", setup.scan(inputs.val)),)))
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


def frozen(path: Path, classes: tuple[str, ...], device: torch.device) -> Frozen:
    """The model of a finished run, to learn from.

    Raises:
        UserError: no finished run, or its classes are others.
    """
    saved = load_models(path, str(device))
    if saved.classes != classes:
        odd = sorted(set(saved.classes) ^ set(classes))
        detail = f"{odd[0]!r} is in one of them only" if odd else "they differ in order"
        raise UserError(f"{path} was trained on another class list: {detail}")
    return Frozen(saved.predictor, saved.image_size, saved.prepare, saved.frames, saved.resize)


def usual_resize(dataset: Dataset) -> options.Resize:
    """Whole photos where every object in them is labelled, the middle where one label names it."""
    return "square" if isinstance(dataset.labels, Multi) else "shorter"


@final
@dataclass(frozen=True, eq=False)
class Networks:
    """Fresh networks for the classes of a training, on its device; can go to another process.

    Args:
        model: as it was asked for.
        classes: of the labels.
        channels: of the images.
        image_size: side of the input, where it is fixed.
        frames: of a clip, where the images are videos.
        device: where the networks go.
        vectors: (C, V) word vectors of the classes, or None.
    """

    model: options.Model
    classes: tuple[str, ...]
    channels: int
    image_size: int | None
    frames: int | None
    device: str
    vectors: torch.Tensor | None = None

    def __call__(
        self,
        seed: int,
        network: str | None = None,
        classes: tuple[str, ...] | None = None,
        **architecture: Any,
    ) -> torch.nn.Module:
        """A network; another architecture, or for some of the classes only, where asked for."""
        model, vectors = self.model, self.vectors
        names = self.classes if classes is None else classes
        if vectors is not None:
            vectors = vectors[[self.classes.index(name) for name in names]]
        if self.frames is not None:
            architecture["frames"] = self.frames
        made = zoo.create(
            network or model.model,
            len(names),
            in_chans=self.channels,
            image_size=self.image_size,
            pretrained=model.pretrained,
            init=model.init,
            vectors=vectors,
            seed=seed,
            **architecture,
        )
        layout = torch.contiguous_format
        if model.channels_last:
            layout = torch.channels_last if self.frames is None else torch.channels_last_3d
        return made.to(self.device, memory_format=layout)  # type: ignore[call-overload,no-any-return]


def clip_frames(model: options.Model, training: options.Training, inputs: Inputs) -> int | None:
    """The frames of a clip where the images are videos, else None.

    Raises:
        UserError: a network for the other kind, or settings that are for the other kind.
    """
    takes = zoo.clip_frames(model.model)
    parts = {"--images": inputs.train, "--val-images": inputs.val, "--unlabeled": inputs.unlabeled}
    for name, part in parts.items():
        if part is not None and is_video(part.source) != (takes is not None):
            if takes is None:
                raise UserError(
                    f"{name} are videos and {model.model} takes still images: use --model r2plus1d_18"
                )
            raise UserError(f"{model.model} takes videos and {name} are still images")
    if takes is None:
        if model.frames is not None:
            raise UserError("--frames is for videos, and these are still images")
        return None
    if training.randaugment or training.cutout:
        raise UserError("--randaugment and --cutout are for still images, and these are videos")
    return takes if model.frames is None else model.frames


def check_features(model: options.Model, training: options.Training, inputs: Inputs) -> None:
    """Refuse a network for the other kind of images, settings for pixels, and features of two makings.

    Raises:
        UserError: one of these.
    """
    takes = zoo.takes_features(model.model)
    made = features_of(inputs.train.source)
    parts = {"--images": inputs.train, "--val-images": inputs.val, "--unlabeled": inputs.unlabeled}
    for name, part in parts.items():
        own = None if part is None else features_of(part.source)
        if part is not None and (own is not None) != takes:
            if takes:
                raise UserError(
                    f"{model.model} takes features and {name} are images: reteach embed makes a table of them"
                )
            raise UserError(
                f"{name} are features and {model.model} takes images: use --model linear or mlp"
            )
        if own is not None and made is not None and (told := differing(made, own)):
            raise UserError(f"{name} are other features than --images ({told})")
    if not takes:
        return
    why = "on features"
    refuse_unused(model, why, "image_size", "resize", "pretrained", "channels_last")
    if training.augment not in ("auto", "none"):
        raise UserError(f"--augment {training.augment} has no effect {why}; leave it out")
    if (
        made is not None
        and made.get("resize") == "shorter"
        and isinstance(inputs.train.labels, Multi)
    ):
        note(
            "these features are of the middle of each photo (embed --resize shorter), and label sets may "
            "name what stands outside it: reteach embed --resize square takes the whole photo"
        )


def check_fine_tuning(
    model: options.Model, training: options.Training, network: torch.nn.Module
) -> None:
    """Refuse settings of fine-tuning that would do nothing, or cannot be met.

    Raises:
        UserError: one of these.
    """
    if not fine_tuning.fine_tuned(model):
        refuse_unused(model, "without --pretrained or --init", "probe_first")
    if model.freeze_until is not None:
        if not fine_tuning.fine_tuned(model):
            raise UserError(
                "--freeze-until keeps weights that --pretrained or --init brings: give one of them"
            )
        blocks.freeze_until(copy.deepcopy(network), model.freeze_until)
    if model.batch_norm == "keep" and not fine_tuning.fine_tuned(model):
        raise UserError(
            "--batch-norm keep keeps statistics that --pretrained or --init brings: give one of them"
        )
    normed = any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in network.modules())
    if not normed:
        refuse_unused(model, f"with {model.model}, which has no batch normalisation", "batch_norm")
    if training.layer_decay is not None:
        blocks.rate_scales(network, training.layer_decay)


def check_unlabeled(method: str, data: options.Data) -> None:
    """Refuse unlabelled images where the method has no use for them."""
    if data.unlabeled is not None and not METHODS[method].unlabeled:
        able = [name for name, other in METHODS.items() if other.unlabeled]
        raise UserError(
            f"--unlabeled has no effect with {method}, which learns from --images alone; leave it out, or "
            f"use {', '.join(able[:-1])} or {able[-1]}"
        )


def check_labels(method: str, dataset: Dataset) -> None:
    """Refuse labels that a method cannot learn from, and say what can."""
    wanted = METHODS[method].labels
    sets = isinstance(dataset.labels, Multi)
    if wanted == "one" and sets:
        raise UserError(
            f"{method} needs one label per image and these are label sets; use sigmoid or mile"
        )
    if wanted == "sets" and not sets:
        raise UserError(
            f"{method} needs label sets and these are single labels; grow sets with mile first "
            "(reteach predict writes them as a label table), or give a table with several labels "
            "per image"
        )
    if sets and as_multi(dataset.labels).unknown is not None and not METHODS[method].unknown:
        knowing = [name for name, other in METHODS.items() if other.unknown]
        raise UserError(
            f"{method} would take classes that are unknown in an image for absent; "
            f"use {', '.join(knowing[:-1])} or {knowing[-1]}"
        )


def check_epochs(data: options.Data, dataset: Dataset) -> None:
    """Refuse draws and epochs by class that cannot be made."""
    if data.balanced_epoch is None:
        return
    if data.rebalance:
        raise UserError(
            "--rebalance and --balanced-epoch both balance the classes: give one of them"
        )
    if not isinstance(dataset.labels, Single):
        raise UserError("--balanced-epoch needs one label per image")


def decoded(
    dataset: Dataset,
    image_size: int | None,
    data: options.Data,
    device: torch.device,
    interpolation: options.Interpolation = "bilinear",
) -> Dataset:
    """The data set with a faster way to its pixels: from memory, or large JPEGs at reduced size.

    Photos are read at no less than twice the side of the input, so that crops keep their detail.
    """
    if data.resident:
        if not isinstance(dataset.source, ArraySource):
            raise UserError(
                "--resident keeps arrays on the device: give --images as .npz or cifar:…"
            )
        if image_size is not None:
            raise UserError("--resident keeps images as they are: leave out --image-size")
        return replace(dataset, source=ResidentSource(dataset.source, device))
    if isinstance(dataset.source, ArraySource) or image_size is None:
        return dataset
    if not data.cache:
        return replace(dataset, source=shrunk(dataset.source, 2 * image_size))
    rows = np.unique(dataset.rows)
    with progress("decoding into memory", len(rows)) as on_progress:
        source = CachedSource(
            dataset.source,
            image_size * 256 // 224,
            interpolation=interpolation,
            rows=rows,
            on_progress=on_progress,
        )
    return replace(dataset, source=source)
