"""Refusals before a training: what images, labels, network and method cannot do together."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from ..data.dataset import Dataset
from ..data.sources.base import Source, features_of, is_video
from ..data.sources.blocks import every_shard_at_store, has_shards
from ..engine import distributed
from ..errors import UserError
from ..features.preprocessing import differing
from ..labels import Multi, Single, as_multi
from ..models import blocks, zoo
from ..options import shared as options
from ..options.methods import METHODS
from ..options.shared import refuse_unused
from ..progress import note
from ..storage import shards as at_store
from . import fine_tuning
from .inputs import Inputs


def clip_frames(model: options.Model, training: options.Training, inputs: Inputs) -> int | None:
    """The frames of a clip where the images are videos, else None.

    Raises:
        UserError: a network for the other kind, or settings that are for the other kind.
    """
    takes = zoo.clip_frames(model.model)
    parts = inputs.parts()
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
    parts = inputs.parts()
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
    refuse_unused(training, why, "cutmix")
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
        why = f"with {model.model}, which has no batch normalisation"
        refuse_unused(model, why, "batch_norm", "norm_over")
    if distributed.world() == 1:
        alone = "in a single process: start several with torchrun"
        refuse_unused(model, alone, "norm_over", "shard_model")
    if model.shard_model:
        refuse_unused(model, "with --shard-model", "compile")
        if model.precision == "fp16":
            raise UserError("--shard-model does not scale losses: --precision bf16 or fp32")
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


def check_shards(data: options.Data, batch_size: int, inputs: Inputs) -> None:
    """Refuse --shuffle-shards where no shards are, or where it does not divide the batch."""
    sources = [each.source for each in (inputs.train, inputs.unlabeled) if each is not None]
    if (asked := data.shuffle_shards) is None:
        if not data.cache:
            _tell_cost(sources)
        return
    if not any(map(has_shards, sources)):
        raise UserError(
            "--shuffle-shards has no effect: the images to learn from are not in tar shards"
        )
    if batch_size % asked:
        raise UserError(f"--shuffle-shards {asked} must divide --batch-size {batch_size}")


def _tell_cost(sources: Sequence[Source]) -> None:
    """Say that all images at random is a request for nearly each, where shards are many and far."""
    shards = set().union(*map(every_shard_at_store, sources))
    taken = sum(map(at_store.size, shards)) if shards else 0
    if shards and taken > (room := at_store.room()):
        note(
            f"{len(shards):,} tar shards at a store take {taken / 1e9:.3g} GB and {at_store.ROOM} leaves "
            f"{room / 1e9:.3g}: most images are a request each; --shuffle-shards fetches a shard once a pass"
        )
