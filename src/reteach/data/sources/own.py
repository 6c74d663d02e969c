"""A data set of the user's as images: any PyTorch data set of (image, label) that knows its length."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import missing
from ...item_index import first_repeated
from ..loading.decode import ImageError, decode
from .named import named_items


@final
class DatasetSource:
    """N images of a data set, each read when it is wanted.

    An item is called as the data set's ``items`` say, or after its file (``samples`` below ``root``, as
    torchvision has them), else by its number.

    Args:
        dataset: (image, label) by number, or the image alone; the image is one of Pillow, an array (H, W) or
            (H, W, 3) of uint8, or a tensor (C, H, W) of uint8 or, of ToTensor, of floats in [0, 1].
        class_of: N class names; by default the labels, by the names in ``classes`` where there are such.

    Raises:
        UserError: no length, no images, or an item name twice.
    """

    def __init__(self, dataset: Any, class_of: Sequence[str] | None = None) -> None:
        if hasattr(dataset, "batch_sampler") and hasattr(dataset, "dataset"):
            raise UserError("a DataLoader gives batches: give its data set, loader.dataset")
        try:
            self.count = len(dataset)
        except TypeError:
            raise UserError(
                f"a data set must know its length and give images by number: of a {type(dataset).__name__} "
                "give list(…)"
            ) from None
        if not self.count:
            raise UserError("the data set is empty")
        self.dataset = dataset
        self.given = None if class_of is None else list(class_of)
        if self.given is not None and len(self.given) != self.count:
            raise UserError(f"{self.count} images, but {len(self.given)} labels")

    def __len__(self) -> int:
        return self.count

    @cached_property
    def items(self) -> list[str]:
        """N item ids."""
        width = len(str(self.count - 1))
        named = getattr(self.dataset, "items", None)
        if isinstance(named, Sequence):
            names = [str(name) for name in named]
        elif (files := _files(self.dataset)) is not None:
            names = files
        else:
            names = [f"{row:0{width}}" for row in range(self.count)]
        if len(names) != self.count or (twice := first_repeated(names)) is not None:
            what = f"{len(names)} names" if len(names) != self.count else f"{twice!r} twice"
            raise UserError(f"the data set has {self.count} images, and its items are {what}")
        return names

    @cached_property
    def class_of(self) -> list[str] | None:
        """N class names; None of a data set without labels."""
        if self.given is not None:
            return self.given
        targets = getattr(self.dataset, "targets", None)
        if targets is None or len(targets) != self.count:
            entries = (self.dataset[row] for row in range(self.count))
            targets = [entry[1] if isinstance(entry, tuple | list) else None for entry in entries]
        if any(target is None for target in targets):
            return None
        names = getattr(self.dataset, "classes", None)
        return [_name(target, names) for target in targets]

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8.

        Raises:
            ImageError: the data set raises an error of its own.
            UserError: it gives no image.
        """
        try:
            entry = self.dataset[row]
        except ImageError:
            raise
        except Exception as error:  # whatever a data set raises is about this image
            raise ImageError(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from None
        return pixels_of(entry[0] if isinstance(entry, tuple | list) else entry)


@final
class ImageList:
    """N images one by one as a data set: files, or what a data set may give, with labels or without.

    Args:
        entries: paths of image files, images as :func:`pixels_of` takes them, or (image, label).

    Raises:
        UserError: none, or a file that is not there.
    """

    def __init__(self, entries: Sequence[Any]) -> None:
        if not len(entries):
            raise UserError("the list of images is empty")
        self.entries = entries
        files = [os.fspath(entry) for entry in entries if isinstance(entry, str | os.PathLike)]
        if (gone := next((file for file in files if not os.path.isfile(file)), None)) is not None:
            raise UserError(
                f"{gone} is a folder: name it alone, or list image files"
                if os.path.isdir(gone)
                else missing(gone, "image")
            )
        if len(files) == len(entries):
            self.items = named_items(files)
            self.targets = [None] * len(files)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, row: int) -> Any:
        entry = self.entries[row]
        return decode(entry) if isinstance(entry, str | os.PathLike) else entry


def pixels_of(image: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of an image of any kind.

    Raises:
        UserError: it is none, or its values have been normalised.
    """
    if hasattr(image, "convert"):
        return np.array(image.convert("RGB"))
    tensor = hasattr(image, "detach")
    found = np.asarray(image.detach().cpu() if tensor else image)
    if found.dtype.kind == "f":
        scaled = found * 255
        if (
            not (np.abs(scaled - scaled.round()) < 0.01).all()
            or scaled.min() < 0
            or scaled.max() > 255.5
        ):
            raise UserError(
                "the data set gives floats that are not pixels / 255 (of ToTensor): leave Normalize and the "
                "like out, reteach normalises as the network expects"
            )
        found = scaled.round().astype(np.uint8)
    if found.ndim == 2:
        found = found[..., None]
    elif tensor and found.ndim == 3:
        found = np.moveaxis(found, 0, -1)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[-1] not in (1, 3):
        raise UserError(
            f"the data set gives {type(image).__name__} of shape {found.shape} and {found.dtype}: it must "
            "give images of Pillow, (H, W, 3) of uint8, or tensors (3, H, W)"
        )
    return np.array(np.broadcast_to(found, (*found.shape[:2], 3)))


def _files(dataset: Any) -> list[str] | None:
    """The files of torchvision's folders, relative to their root."""
    samples, root = getattr(dataset, "samples", None), getattr(dataset, "root", None)
    if not isinstance(samples, list) or root is None:
        return None
    try:
        return [Path(path).relative_to(root).as_posix() for path, *_ in samples]
    except (TypeError, ValueError):
        return None


def _name(target: Any, names: Sequence[str] | None) -> str:
    target = target.item() if hasattr(target, "item") else target
    if isinstance(target, int) and not isinstance(target, bool):
        if target < 0 or (names is not None and target >= len(names)):
            raise UserError(
                f"the data set has the label {target}, which is no class: name the labels with labels=…"
            )
        return str(target if names is None else names[target])
    if isinstance(target, str):
        return target
    raise UserError(
        f"the data set's labels are {type(target).__name__}, neither numbers nor names: give labels=…"
    )
