"""Objects in the place of settings: data sets, networks, augmentations and losses among a call's keywords."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from ..own import Own, digest, qualified

IMAGES = ("images", "val_images", "test_images", "unlabeled")


def as_own(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Own]]:
    """The settings with texts in the place of objects, and the objects by keyword.

    Labels that are a list, one for each of the images given beside them, become these images' own.

    Raises:
        UserError: an object that cannot be what its keyword says.
    """
    said, objects = dict(settings), {}
    for name in IMAGES:
        if name in said and _is_images(said[name]):
            labels = None
            if name == "images" and _is_list(said.get("labels")):
                labels = [str(label) for label in said.pop("labels")]
            text = f"python:{name}:{qualified(said[name])}"
            objects[name] = Own(text, _source(said[name], labels))
            said[name] = text
    for name in ("augmentation", "loss"):
        if callable(said.get(name)):
            objects[name] = Own(f"{qualified(said[name])} {digest(said[name])}", said[name])
            said[name] = objects[name].text
    if (network := said.pop("network", None)) is not None:
        from ..models.own import name_of

        if said.get("model", "auto") != "auto":
            raise UserError("model has no effect beside network; leave it out")
        if not callable(network) or (
            hasattr(network, "state_dict") and not isinstance(network, type)
        ):
            raise UserError(
                f"network must be what makes one, number of classes -> module of PyTorch, got a "
                f"{type(network).__name__}: give its class, or a function"
            )
        said["model"] = name_of(network)
        objects["network"] = Own(said["model"], network)
    return said, objects


def _is_images(value: Any) -> bool:
    """Whether these are images themselves, a data set, or a list of files."""
    if isinstance(value, str | os.PathLike | Mapping | None):
        return False
    if hasattr(value, "convert") or _is_list(
        value
    ):  # an image of Pillow, or a list or column of files
        return True
    frame = hasattr(value, "__arrow_c_stream__") or hasattr(value, "__dataframe__")
    return not frame and (hasattr(value, "__getitem__") or hasattr(value, "__iter__"))


def _is_list(value: Any) -> bool:
    """Whether this is one label for each image: a list, an array or a series of one dimension."""
    if isinstance(value, list | tuple):
        return True
    return getattr(value, "ndim", 0) == 1 and hasattr(value, "__iter__")


def _source(value: Any, labels: list[str] | None) -> Any:
    import numpy as np

    from ..data.sources.arrays import ArraySource
    from ..data.sources.own import DatasetSource, ImageList

    if getattr(value, "ndim", 0) == 1:
        value = list(value)
    if isinstance(value, np.ndarray):
        one = value.ndim == 3 and value.shape[-1] == 3
        return ArraySource(value[None] if one else value, class_of=labels)
    if hasattr(value, "detach"):
        one = value.ndim == 3 and value.shape[0] in (1, 3)
        value = ImageList(list(value[None] if one else value))
    elif isinstance(value, list | tuple) or hasattr(value, "convert"):
        value = ImageList(value if isinstance(value, list | tuple) else [value])
    return DatasetSource(value, labels)
