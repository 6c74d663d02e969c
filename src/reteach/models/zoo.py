"""Networks by name: every architecture of timm, and the few of :mod:`reteach.models.small`."""

from __future__ import annotations

import math
import re
import socket
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
import torch
from torch import Tensor, nn

from ..errors import UserError, closest
from ..options.shared import Interpolation
from ..progress import note
from . import class_heads, feature_heads, own, packages, weights
from . import preact as _preact  # noqa: F401  importing makes networks known to timm
from . import selective as _selective  # noqa: F401
from . import small as _small  # noqa: F401
from . import video as _video
from .tensorfiles import SAFETENSORS


def create(
    name: str,
    num_classes: int,
    *,
    in_chans: int = 3,
    image_size: int | None = None,
    pretrained: bool = False,
    init: Path | None = None,
    vectors: Tensor | None = None,
    seed: int,
    **options: Any,
) -> nn.Module:
    """A network (B, in_chans, H, W) -> logits (B, C), in training mode on the CPU; for videos see
    :mod:`reteach.models.video`.

    Its weights are a function of the arguments: the global random state is neither used nor changed.

    Args:
        name: timm's name, with or without the tag of its weights ("resnet18.a1_in1k").
        num_classes: C.
        image_size: side of the input in pixels, for architectures that are built for one size
            (vision transformers); the others take any and ignore it.
        pretrained: start from timm's published weights: from the hub, or where that cannot be reached
            from an installed package (:mod:`reteach.models.packages`), which is said on stderr.
        init: start from this weight file; see :func:`reteach.models.weights.load`, which also tells
            what of it was used.
        vectors: (C, V) word vectors of the classes, for networks with a token per class.
        seed: of the initial weights that no file gives.
        options: for the architecture, such as ``drop_rate``, or ``frames`` of a clip.

    Raises:
        UserError: unknown name, unfit size or option, weights that cannot be had or do not fit.
    """
    config = _config(name)
    if pretrained and init is not None:
        raise UserError("start from --pretrained weights or from the file of --init, not from both")
    given = {"num_classes": num_classes, "in_chans": in_chans, **options}
    if vectors is not None:
        if name.partition(".")[0] not in class_heads.NAMES:
            some = ", ".join(sorted(class_heads.NAMES)[:4])
            raise UserError(
                f"--vectors is for models with a token per class ({some} …), not {name}"
            )
        given["vectors"] = vectors
    if image_size is not None and config.fixed_input_size:
        given["img_size"] = image_size
    with torch.random.fork_rng(devices=[]):
        model = _published(name, config, given, seed) if pretrained else _built(name, given, seed)
        if own.is_own(name) and image_size is not None:
            own.refuse_outputs(model, num_classes, (2, in_chans, image_size, image_size))
    if "img_size" in given:
        _check_patches(model, name, image_size)
    if init is not None:
        weights.load(model, init)
    return model


def default_image_size(name: str) -> int:
    """The side in pixels of the images that an architecture is meant for.

    Raises:
        UserError: unknown name.
    """
    return int(_config(name).input_size[-1])


def fixed_size(name: str) -> bool:
    """Whether an architecture is built for one size of images, as vision transformers are."""
    return bool(_config(name).fixed_input_size)


def takes_features(name: str) -> bool:
    """Whether an architecture takes feature vectors in place of images."""
    return name in feature_heads.NAMES


def clip_frames(name: str) -> int | None:
    """The frames of the clips that an architecture is meant for; None: it takes still images.

    Raises:
        UserError: unknown name.
    """
    _config(name)
    return _video.CLIP_FRAMES.get(name.partition(".")[0])


def normalisation(
    model: nn.Module, channels: int = 3
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (channels,) of pixels in [0, 1] that a network expects.

    For another number of channels than it states (grey images), the mean over those that it does.
    """
    config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    found = []
    for key, default in (("mean", 0.5), ("std", 0.5)):
        values = [float(v) for v in config.get(key) or (default,) * channels]
        if len(values) != channels:
            values = [math.fsum(values) / len(values)] * channels
        found.append(tuple(values))
    return found[0], found[1]


def interpolation(model: nn.Module) -> Interpolation:
    """How the images were resized that a network's weights were trained on, as its description says."""
    config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    return "bicubic" if config.get("interpolation") == "bicubic" else "bilinear"


def _config(name: str) -> Any:
    """timm's ``PretrainedCfg`` of an architecture."""
    if own.is_own(name):
        own.ensure(name)
    if not re.fullmatch(r"\w[\w.+-]*", name) or not timm.is_model(name):
        raise UserError(f"unknown model {name!r}{closest(name, timm.list_models())}")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a tag that the architecture does not have
        known = timm.list_models(name.partition(".")[0], pretrained=True)
        hint = f" (published: {', '.join(known)})" if known else ""
        raise UserError(f"unknown weights {name!r}{hint}") from None
    if config is None:
        raise UserError(f"timm has no description of model {name!r}")
    return config


def _built(name: str, given: dict[str, Any], seed: int) -> nn.Module:
    """A network of fresh weights."""
    try:
        return _made(name, given, seed)
    except Exception as error:  # timm and the architectures raise all sorts
        who = (
            "network cannot be made" if own.is_own(name) else f"timm cannot build {name!r} as asked"
        )
        raise UserError(f"{who}: {_line(error)}") from None


def _made(name: str, given: dict[str, Any], seed: int, **weights: Any) -> nn.Module:
    # Not torch.manual_seed, which would also seed the GPUs' generators.
    torch.default_generator.manual_seed(seed)
    made: nn.Module = timm.create_model(name, **weights, **given)
    return made


_WITHOUT_HUB: set[str] = set()
"""Names whose weights this process takes from a package: all its networks start from the same."""


def _published(name: str, config: Any, given: dict[str, Any], seed: int) -> nn.Module:
    """A network of published weights: timm's own way, from the hub's cache, or from a package."""
    if not config.has_weights:
        raise UserError(
            f"there are no published weights of {name!r}; leave out --pretrained, or give a file "
            "with --init"
        )
    reason = "no network"
    if name not in _WITHOUT_HUB and (overlay := _from_hub(config)) is not None:
        try:
            return _made(name, given, seed, pretrained=True, pretrained_cfg_overlay=overlay)
        except Exception as error:  # the hub raises all sorts too
            reason = _line(error)
    package = packages.package_of(name)
    if package is None or package.path is None:
        raise UserError(
            f"the published weights of {name!r} cannot be loaded ({reason}); {packages.where_else(name)}, "
            "or download them where there is a network and give the file with --init"
        )
    if name not in _WITHOUT_HUB:
        note(
            f"the hub's weights of {name} cannot be loaded ({reason}): those of the installed package "
            f"{package.name} are used"
        )
        _WITHOUT_HUB.add(name)
    given = {**given, "pretrained": True, "pretrained_cfg_overlay": package.overlay()}
    model = _built(name, given, seed)
    known: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    weights.set_config(model, {k: v for k, v in known.items() if k != "state_dict"})
    return model


def _from_hub(config: Any) -> dict[str, str] | None:
    """How timm finds the published weights: its own way, or the cache when the hub is not there; None:
    neither.

    Asked for a file without network, the hub's client tries for most of a minute before it says so.
    """
    if not config.hf_hub_id or _hub_is_there():
        return {}
    cached = _cached(config)
    return None if cached is None else {"file": cached}


def _cached(config: Any) -> str | None:
    """The file of published weights in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(config.hf_hub_id, config.hf_hub_filename or SAFETENSORS)
    return cached if isinstance(cached, str) else None


def without_download(name: str) -> bool:
    """Whether published weights are on this machine; from now on this process takes those.

    For work that nobody asked a download for: the hub's cache first, then an installed package.
    """
    config = _config(name)
    if config.hf_hub_id and _cached(config) is not None:
        return True
    package = packages.package_of(name)
    if package is None or package.path is None:
        return False
    _WITHOUT_HUB.add(name)
    return True


def _hub_is_there() -> bool:
    """Whether the hub's name resolves; behind a proxy that is the proxy's business."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def _check_patches(model: nn.Module, name: str, image_size: int | None) -> None:
    """Refuse a size that is cut off at the last patch, which timm would notice in the first batch."""
    patches = getattr(getattr(model, "patch_embed", None), "patch_size", None) or ()
    for patch in (patches,) if isinstance(patches, int) else patches:
        if image_size is not None and image_size % patch:
            raise UserError(f"--image-size must be a multiple of {patch} for {name}")


def _line(error: Exception) -> str:
    """The first line of an error, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def registration(name: str) -> str | None:
    """The module whose import makes a network of ours known to timm; None for timm's own."""
    build = timm.model_entrypoint(name.partition(".")[0])
    return __name__ if build.__module__.startswith("reteach.") else None
