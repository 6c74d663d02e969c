"""Reading weight files of unknown origin: safetensors or torch's own format, never unsafe pickle."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .. import sealed
from ..errors import UserError

SAFETENSORS = "model.safetensors"  # timm's names for what is in a model's folder
CONFIG = "config.json"
WEIGHTS = "weights_sha256"
"""Where the configuration of a folder saved here has the checksum of its weights."""

Tensors = dict[str, Tensor]


def read(path: Path) -> dict[str, Tensors]:
    """The named tensors of a weight file, on the CPU, by group.

    Checkpoints are dictionaries such as ``{"state_dict": {...}, "epoch": 3}``: each inner dictionary
    of tensors is a group under its name, and tensors at the top are the group ``""``. Everything else
    (optimisers, counters, arguments) is left out.

    Args:
        path: a safetensors or torch file, or a folder that holds ``model.safetensors``.

    Raises:
        UserError: missing, unreadable, damaged, without tensors, or with Python objects inside
            that ``weights_only`` refuses.
    """
    path = Path(path)
    if path.is_dir():
        path = path / SAFETENSORS
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except FileNotFoundError:
        raise UserError(f"weight file {path} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot read weight file {path}: {error.strerror}") from None
    # A safetensors file opens with the length of its JSON header, then the header.
    _hold_against_checksum(path)
    content = _safetensors(path) if start[8:] == b"{" else _torch(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not named weights")
    groups = {"": _tensors(content)}
    for name, value in content.items():
        if isinstance(name, str) and isinstance(value, dict):
            groups[name] = _tensors(value)
    groups = {name: tensors for name, tensors in groups.items() if tensors}
    if not groups:
        raise UserError(f"{path} holds no named weights")
    return groups


def _hold_against_checksum(path: Path) -> None:
    """Weights in a folder that was saved here are what was written there, or refused."""
    config = path.with_name(CONFIG)
    if path.name != SAFETENSORS or not config.is_file() or b'"reteach"' not in config.read_bytes():
        return
    again = "train again, or copy the folder again"
    expected = sealed.read_json(config, again).get("reteach", {}).get(WEIGHTS)
    if expected is not None and sealed.digest(path) != expected:
        raise sealed.damaged(path, again)


def _tensors(values: dict[object, object]) -> Tensors:
    return {k: v for k, v in values.items() if isinstance(k, str) and isinstance(v, Tensor)}


def _safetensors(path: Path) -> object:
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError):
        raise _damaged(path) from None


def _torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise nearly anything: KeyError, UnicodeError …
        refused = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))
        if refused:
            raise UserError(
                f"{path} holds Python objects ({refused[1]}) beside its weights, and unpickling those "
                "can run any code; if you trust its source, re-save the weights alone: torch.save("
                "torch.load(FILE, map_location='cpu', weights_only=False)['state_dict'], NEW_FILE)"
            ) from None
        raise _damaged(path) from None


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is not a weight file, or is damaged or only partly downloaded")
