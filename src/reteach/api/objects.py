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
        if not callable(network):
            raise UserError("network must be a function: number of classes -> module of PyTorch")
        said["model"] = name_of(network)
        objects["network"] = Own(said["model"], network)
    return said, objects


def _is_images(value: Any) -> bool:
    """Whether this is an array of images, or a data set."""
    if isinstance(value, str | os.PathLike | list | tuple | Mapping | None):
        return False
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
    from ..data.sources.own import DatasetSource

    if isinstance(value, np.ndarray):
        return ArraySource(value, class_of=labels)
    return DatasetSource(value, labels)
