"""Networks on disk in timm's own layout: a folder with ``config.json`` and ``model.safetensors``.

Any user of timm can load such a folder::

    timm.create_model("local-dir:FOLDER", pretrained=True)

Without ``pretrained=True`` timm builds the network with random weights and says nothing. The networks
of :mod:`reteach.models.small` need that module imported first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import save as to_bytes
from torch import nn

from .. import sealed
from ..errors import UserError
from ..files import atomic_write
from ..options.shared import Interpolation, Resize
from . import own, weights, zoo
from .tensorfiles import CONFIG, SAFETENSORS, WEIGHTS, read

CARD = "README.md"
# What of timm's description of an architecture still holds for the trained network.
KEPT = ("fixed_input_size", "first_conv", "classifier")
# What a config.json must not decide: where weights come from, and what stands elsewhere in it.
NOT_OPTIONS = {
    *("name", "num_classes", "in_chans", "image_size", "img_size", "seed"),
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay"),
    *("init", "checkpoint_path", "cache_dir"),
}


@final
@dataclass(frozen=True)
class Info:
    """What is known of a saved network beside its weights.

    Args:
        architecture: timm's name.
        classes: (C,) names of the outputs, in order.
        in_chans: channels of the input.
        image_size: side of the input in pixels; None: any.
        mean: (in_chans,) and
        std: (in_chans,) of the normalisation of pixels in [0, 1].
        model_args: options with which the architecture was built.
        extra: whatever was saved with it.
        digest: SHA-256 of the weights; empty where an earlier version saved them.
    """

    architecture: str
    classes: tuple[str, ...]
    in_chans: int
    image_size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    model_args: dict[str, Any]
    extra: dict[str, Any]
    digest: str = field(default="", compare=False)


def save(
    model: nn.Module,
    folder: Path,
    *,
    architecture: str,
    num_classes: int,
    in_chans: int,
    mean: Sequence[float],
    std: Sequence[float],
    classes: Sequence[str],
    image_size: int | None,
    own_size: tuple[int, int] | None = None,
    resize: Resize = "shorter",
    interpolation: Interpolation = "bilinear",
    model_args: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> str:
    """Write a network's folder; one that stands there is replaced, and is never half old, half new.

    Args:
        model: built by :func:`reteach.models.zoo.create` with the arguments that are given here.
        own_size: (H, W) of images that keep their size.
        resize: how photos become squares, and
        interpolation: by which.
        extra: more facts to keep, as JSON allows.

    Returns:
        SHA-256 of the weights.

    Raises:
        UserError: the folder cannot be written.
    """
    if len(classes) != num_classes:
        raise ValueError(f"{num_classes} outputs but {len(classes)} class names")
    known: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    size = (image_size,) * 2 if image_size is not None else own_size
    size = size or tuple(known.get("input_size", (3, 224, 224)))[1:]
    config: dict[str, Any] = {
        "architecture": architecture,
        "num_classes": num_classes,
        "num_features": getattr(model, "num_features", None),
        "label_names": list(classes),
        "model_args": dict(model_args),
        "pretrained_cfg": {key: known[key] for key in KEPT if known.get(key) is not None}
        | {
            "num_classes": num_classes,
            "input_size": [in_chans, *size],
            "mean": list(mean),
            "std": list(std),
            **_as_timm_says(resize if image_size is not None else "square"),
            "interpolation": interpolation,
        },
        "reteach": {"image_size": image_size, "extra": dict(extra)},
    }
    tensors = {
        # Copies, because safetensors refuses shared and channels-last memory.
        name: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    # A folder without its config.json is no network: the old one goes first, the new one comes last.
    with suppress(OSError):
        (folder / CONFIG).unlink()
    content = to_bytes(tensors, metadata={"format": "pt"})
    digest = config["reteach"][WEIGHTS] = hashlib.sha256(content).hexdigest()
    atomic_write(folder / SAFETENSORS, content)
    # timm has no transform for clips or features, and does not know networks of the user's
    timms = not zoo.takes_features(architecture) and not own.is_own(architecture)
    if "frames" not in model_args and timms:
        atomic_write(folder / CARD, _card(architecture, classes, in_chans, size))
    atomic_write(folder / CONFIG, sealed.json_text(config, indent=2))
    return digest


def _as_timm_says(resize: Resize) -> dict[str, Any]:
    """Our view of an image in timm's words: :class:`reteach.data.loading.augment.Square` and ``Eval``."""
    if resize == "square":
        return {"crop_pct": 1.0, "crop_mode": "squash"}
    return {"crop_pct": 0.875, "crop_mode": "center"}


def _card(architecture: str, classes: Sequence[str], in_chans: int, size: tuple[int, ...]) -> str:
    """How to use the folder with timm alone, or with one import where the network is ours."""
    ours = zoo.registration(architecture)
    lines = [f"import {ours}  # registers {architecture}"] if ours else []
    mode = {1: "L", 3: "RGB"}.get(in_chans, "RGB")
    lines += [
        "import timm",
        "import torch",
        "from PIL import Image",
        "",
        'FOLDER = "."  # this folder',
        'model = timm.create_model(f"local-dir:{FOLDER}", pretrained=True).eval()',
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))",
        f'image = Image.open("photo.jpg").convert("{mode}")',
        "with torch.no_grad():",
        "    scores = model(transform(image)[None])",
    ]
    shown = ", ".join(classes[:5]) + (", …" if len(classes) > 5 else "")
    return "\n".join(
        [
            f"# {architecture}",
            "",
            f"{len(classes)} classes ({shown}), in the order of `label_names` in `config.json`; input "
            f"{size[0]} × {size[1]}.",
            "",
            "```python",
            *lines,
            "```",
            "",
            "The transform is the one that the model was evaluated with. Without `pretrained=True` timm "
            "builds random weights and says nothing."
            + (f" Without `import {ours}` timm does not know the network." if ours else ""),
            "",
        ]
    )


def load(folder: Path) -> tuple[nn.Module, Info]:
    """A saved network, on the CPU and in evaluation mode, with what is known of it.

    Raises:
        UserError: missing, incomplete or damaged.
    """
    info = read_info(folder)
    model = zoo.create(
        info.architecture,
        len(info.classes),
        in_chans=info.in_chans,
        image_size=info.image_size,
        seed=0,
        **info.model_args,
    )
    tensors = read(folder / SAFETENSORS).get("", {})  # holds them against their checksum
    if problem := weights.misfit(tensors, model.state_dict()):
        raise UserError(f"{folder} is damaged: {problem}")
    model.load_state_dict(tensors)
    known: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    weights.set_config(model, known | {"mean": info.mean, "std": info.std})
    return model.eval(), info


def read_info(folder: Path) -> Info:
    """What is known of a saved network.

    Raises:
        UserError: missing, incomplete or damaged.
    """
    file = folder / CONFIG
    try:
        config = sealed.read_json(file, "train again, or copy the folder again")
        kept, ours = config["pretrained_cfg"], config["reteach"]
        info = Info(
            architecture=str(config["architecture"]),
            classes=tuple(str(name) for name in config["label_names"]),
            in_chans=int(kept["input_size"][0]),
            image_size=None if ours["image_size"] is None else int(ours["image_size"]),
            mean=tuple(float(v) for v in kept["mean"]),
            std=tuple(float(v) for v in kept["std"]),
            model_args=dict(config["model_args"]),
            extra=dict(ours["extra"]),
            digest=str(ours.get(WEIGHTS, "")),
        )
    except FileNotFoundError:
        raise UserError(f"{folder} holds no complete model: it has no {CONFIG}") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, OverflowError, KeyError, TypeError, IndexError, RecursionError):
        raise UserError(f"{file} is damaged or not of a model saved here") from None
    if forbidden := info.model_args.keys() & NOT_OPTIONS:
        raise UserError(f"{file} is damaged: {min(forbidden)} is no option of an architecture")
    if not info.classes or not len(info.mean) == len(info.std) == info.in_chans:
        raise UserError(f"{file} is damaged: it names no classes, or not one mean for each channel")
    return info
