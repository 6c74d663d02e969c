"""``--freeze``: a trained network stays as it is, and a head is trained on its features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..data.sources.base import features_of
from ..engine import distributed
from ..engine.learner import Predictor
from ..errors import UserError
from ..features.extractor import Extractor, extractor_of
from ..features.frozen import FrozenBackbone, check
from ..options import shared as options
from ..options.shared import refuse_unused
from ..processes import decoders
from ..records.runs import MODELS
from .checkpoint import load_models
from .config import Config
from .inputs import Inputs

HEAD = "linear"
"""The network that is trained on the features: with the backbone it is one network of timm."""
_NETWORKS = {
    "distill": ("teacher",),
    "nct": ("peer_model",),
    "semi": ("student", "teacher", "teacher_run"),
}
"""Settings of methods that name a network beside the one that is trained."""


def frozen_backbone(
    config: Config,
    inputs: Inputs,
    device: torch.device,
    resize: options.Resize,
    folder: Path | None,
) -> FrozenBackbone:
    """The network under the head.

    Args:
        resize: where neither --resize nor the run of --init says how photos become squares.
        folder: of the run, to keep in it how the features were made; None: nowhere.

    Raises:
        UserError: no weights to take, or settings that nothing would look at.
    """
    _check(config, inputs)
    model = config.model
    extractor = _extractor(model, device)
    seen = replace(extractor.seen, resize=model.resize or _own_resize(model, extractor) or resize)
    extractor = replace(extractor, seen=seen)
    place = model.features_cache
    backbone = FrozenBackbone(
        extractor, place, folder, decoders(config.data.workers), distributed.Ranks()
    )
    check(backbone)
    return backbone


def on_features(backbone: FrozenBackbone, inputs: Inputs) -> Inputs:
    """The inputs, features in place of images."""
    parts = (inputs.train, inputs.val, inputs.unlabeled)
    train, val, unlabeled = (None if part is None else backbone.features(part) for part in parts)
    assert train is not None
    also = {name: backbone.features(part) for name, part in inputs.also.items()}
    return replace(inputs, train=train, val=val, unlabeled=unlabeled, also=also)


def head_of(config: Config) -> Config:
    """The configuration of the training of the head."""
    head = replace(
        config.model,
        model=HEAD,
        freeze=False,
        features_cache=None,
        pretrained=False,
        init=None,
        image_size=None,
        resize=None,
    )
    return replace(config, model=head)


def whole(backbone: FrozenBackbone, predictor: Predictor) -> Predictor:
    """Heads as networks of images."""
    return replace(predictor, models=tuple(backbone.whole(head) for head in predictor.models))


def _check(config: Config, inputs: Inputs) -> None:
    """Refuse what nothing would look at."""
    model, why = config.model, "with --freeze"
    if features_of(inputs.train.source) is not None:
        raise UserError(
            "--freeze has no effect on features, which are computed already; leave it out"
        )
    if not model.pretrained and model.init is None:
        raise UserError(
            "--freeze needs a trained network to keep as it is: --pretrained, --init FILE or --init RUN"
        )
    refuse_unused(model, why, "frames", "vectors", "channels_last")
    refuse_unused(
        model,
        f"{why}, which trains the head alone",
        "freeze_until",
        "batch_norm",
        "norm_over",
        "shard_model",
    )
    refuse_unused(config.training, f"{why}, which trains the head alone", "layer_decay", "min_crop")
    refuse_unused(config.data, f"{why}, which keeps features", "cache", "resident")
    pixels = f"{why}, which sees each image once and never its pixels again"
    if config.training.augment != "none":
        refuse_unused(config.training, pixels, "augment")
    refuse_unused(config.training, pixels, "randaugment", "cutout")
    for name in _NETWORKS.get(config.method, ()):
        if getattr(config.settings, name) is not None:
            raise UserError(
                f"--{name.replace('_', '-')} names a network of its own, and with --freeze only heads on the "
                "features of one network are trained: leave one of them out"
            )


def _extractor(model: options.Model, device: torch.device) -> Extractor:
    folder = None if model.init is None or _is_run(model) else model.init
    if folder is not None and folder.is_dir() and not (folder / "model.safetensors").is_file():
        raise UserError(
            f"--init {folder} is neither a finished run nor a folder with model.safetensors: name a "
            "finished run or a weight file"
        )
    if not _is_run(model):
        return extractor_of(model.model, model.init, model.pretrained, model.image_size, device)
    assert model.init is not None
    why = f"with --init {model.init}, a run whose own is taken"
    refuse_unused(model, why, "image_size", "pretrained")
    saved = load_models(model.init, str(device), calibrated=False)
    network: Any = saved.predictor.models[0]
    own = (getattr(network, "pretrained_cfg", None) or {}).get("architecture")
    if own is not None and own != model.model:
        raise UserError(f"--model {model.model} has no effect {why} ({own}); leave it out")
    if saved.features is not None or saved.frames is not None:
        raise UserError(f"--init {model.init} is not a run on still images")
    return Extractor(network, saved.seen, f"the features of {model.init.name}'s model")


def _own_resize(model: options.Model, extractor: Extractor) -> options.Resize | None:
    return extractor.seen.resize if _is_run(model) else None


def _is_run(model: options.Model) -> bool:
    return model.init is not None and (model.init / MODELS.name).is_file()
