"""Images that are in memory already, and ``.npz`` files of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import refuse_missing_images
from ...item_index import first_repeated
from ...npz import read_npz, texts


@final
class ArraySource:
    """N images of one size in one array.

    Args:
        images: uint8, (N, H, W) grey, (N, H, W, 1 or 3), or (N, 1 or 3, H, W).
        items: N item ids; by default the row numbers.
        class_of: N class names, where the images come with labels.
        features: how they were made, where the "images" are feature vectors, (N, D) float16, or (N, V, D) of
            V views: each is kept as a picture of one pixel, or of V in a row, with D channels.

    Attributes:
        images: (N, H, W, channels) uint8. Grey stays one channel, so tiny networks may use one. Of features,
            (N, 1, V, D) float16.

    Raises:
        UserError: another type or shape, no images, or an item id twice.
    """

    def __init__(
        self,
        images: NDArray[Any],
        items: Sequence[str] | None = None,
        class_of: Sequence[str] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> None:
        self.features = features
        self.images: NDArray[Any]
        if features is None:
            self.images = _channels_last(np.asarray(images))
        else:
            half = np.asarray(images, np.float16)
            self.images = half.reshape(len(half), 1, -1, half.shape[-1])
        n = len(self.images)
        self.items: list[str] = [str(i) for i in range(n)] if items is None else list(items)
        self.class_of: list[str] | None = None if class_of is None else list(class_of)
        for what, given in (("item ids", self.items), ("labels", self.class_of)):
            if given is not None and len(given) != n:
                raise UserError(f"{n} images, but {len(given)} {what}")
        if (twice := first_repeated(self.items)) is not None:
            raise UserError(f"item id {twice!r} stands for two images")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """1 or 3; of features D."""
        return int(self.images.shape[-1])

    def read(self, row: int) -> NDArray[Any]:
        """(H, W, channels) uint8, a copy."""
        return np.array(self.images[row])

    def batch(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """(B, H, W, channels) uint8, a copy: all images of a batch at once."""
        return np.asarray(self.images[rows])

    def select(self, rows: NDArray[np.int64]) -> ArraySource:
        """Some of the images, in the order of ``rows``."""
        names = self.class_of
        return ArraySource(
            self.images[rows] if self.features is None else self.images[rows, 0],
            [self.items[row] for row in rows],
            None if names is None else [names[row] for row in rows],
            self.features,
        )


def _channels_last(images: NDArray[Any]) -> NDArray[np.uint8]:
    if images.dtype != np.uint8:
        raise UserError(
            f"images must be uint8 with values 0 to 255, got {images.dtype}; "
            "multiply floats in [0, 1] by 255 and round"
        )
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[-1] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"images of shape {images.shape}: need (N, H, W), (N, H, W, 3) or (N, 3, H, W)"
        )
    if not images.size:
        raise UserError(f"images of shape {images.shape}: there are no pixels")
    return images


def open_npz(path: Path) -> ArraySource:
    """An ``.npz`` file: ``images``, and optionally ``labels`` (N,), ``classes`` (C,), ``items`` (N,).

    ``labels`` are class names, or indices into ``classes``. Labels of more than one dimension are left
    alone: label sets belong into a label table.

    Raises:
        UserError: the file is missing, damaged, holds pickled objects, or its arrays do not fit.
    """
    refuse_missing_images(str(path))
    found = read_npz(path, ("images", "labels", "classes", "items"))
    if "images" not in found:
        listed = ", ".join(sorted(read_npz(path))) or "none"
        raise UserError(f"{path} has no array 'images' (it has: {listed})")
    try:
        items = found.get("items")
        return ArraySource(
            found["images"],
            None if items is None else texts(items, "items"),
            _class_names(found.get("labels"), found.get("classes")),
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _class_names(labels: NDArray[Any] | None, classes: NDArray[Any] | None) -> Sequence[str] | None:
    if labels is None or labels.ndim != 1:
        return None
    if labels.dtype.kind == "U":
        return [str(name) for name in labels]
    if labels.dtype.kind not in "iu":
        raise UserError(f"labels must be class indices or names, got {labels.dtype}")
    labels = labels.astype(np.int64)  # of bytes, -1 is no number
    named = None if classes is None else texts(classes, "classes")
    count = int(labels.max(initial=-1)) + 1 if named is None else len(named)
    if labels.size and (labels.min() < 0 or labels.max() >= count):
        raise UserError(f"labels must lie in [0, {count}), got {labels.min()} to {labels.max()}")
    names = [str(i) for i in range(count)] if named is None else named
    if (twice := first_repeated(names)) is not None:
        raise UserError(f"class {twice!r} is listed twice")
    return [names[label] for label in labels.tolist()]
