"""What a stage was asked to do, as a flat dictionary: the fingerprint that resuming compares."""

from __future__ import annotations

import hashlib
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..data.dataset import Dataset
from ..labels import LabelSet
from ..recorded import recorded_arguments, recorded_fields, recorded_name
from .learner import Predictor
from .sharding import full_state

FORMAT = "2"
"""The format of what :func:`describe` returns. Format 1 had no mark, and Python's names of classes."""

CONTENTS = "contents"
"""Ends the path of the content of images."""


def describe(value: Any, path: str = "") -> dict[str, str]:
    """The settings inside ``value`` by path. Weights of frozen teachers count, those of learners not."""
    if isinstance(value, Predictor):
        weights = [_digest(*full_state(model).values()) for model in value.models]
        words = f"{value.link} predictor {' '.join(weights)}"
        if value.presence is not None:
            words += f" calibrated {_hash(value.presence.table.tobytes())}"
        return {path: words}
    if isinstance(value, nn.Module):
        shapes = repr([(name, tuple(t.shape)) for name, t in value.state_dict().items()])
        return {path: f"{recorded_name(type(value))} {_hash(shapes.encode())}"}
    if isinstance(value, Optimizer):
        settings = {k: v for k, v in sorted(value.defaults.items()) if k != "lr"}
        return {path: f"{type(value).__name__} {settings}"}
    if isinstance(value, Dataset):
        found = {
            f"{path}.items": _hash_of_items(value),
            f"{path}.labels": value.labels.digest(),
        }
        if value.digests is not None:
            found[f"{path}.{CONTENTS}"] = _hash(value.digests[value.rows].tobytes())
        return found
    if isinstance(value, LabelSet):
        return {path: value.digest()}
    if isinstance(value, Tensor):
        return {path: f"tensor {tuple(value.shape)}"}
    if isinstance(value, np.ndarray):
        return {path: f"array {value.shape} {_hash(_bytes(value))}"}
    if is_dataclass(value) and not isinstance(value, type):
        out = {path: recorded_name(type(value))}
        for name, element in recorded_fields(value, free=False):
            out |= describe(element, f"{path}.{name}")
        return out
    if isinstance(value, partial):
        out = describe(value.func, path)
        given = dict(enumerate(value.args)) | recorded_arguments(value.func, value.keywords)
        for argument, element in given.items():
            out |= describe(element, f"{path}.{argument}")
        return out
    if isinstance(value, list | tuple):
        out = {path: f"{len(value)} elements"}
        for number, element in enumerate(value):
            out |= describe(element, f"{path}.{number}")
        return out
    if isinstance(value, dict):
        out = {}
        for name, element in value.items():
            out |= describe(element, f"{path}.{name}")
        return out
    if callable(value):
        return {path: recorded_name(value if hasattr(value, "__qualname__") else type(value))}
    return {path: repr(value)}


def _hash_of_items(dataset: Dataset) -> str:
    """Of all item ids, joined by a zero; never made as one text, nor all of them at once."""
    h = hashlib.blake2b(digest_size=8)
    for number, block in enumerate(dataset.item_blocks()):
        h.update(("\0" * bool(number) + "\0".join(block)).encode("utf-8", "surrogatepass"))
    return h.hexdigest()


def _bytes(values: np.ndarray[Any, Any]) -> memoryview:
    """The bytes of an array, not copied where they lie one after the other."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _hash(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _digest(*tensors: Tensor) -> str:
    h = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        h.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return h.hexdigest()
