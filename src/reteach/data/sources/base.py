"""Where images come from: one interface, and the kinds that exist, chosen by what is there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import names_in, refuse_missing_images
from ...item_index import first_repeated, rows_among
from ...options.images_at_store import images_at_store
from ...own import find
from ...progress import note
from ...storage import address
from .arrays import ArraySource, open_npz
from .cifar import open_cifar
from .feature_table import is_table, read_table, refuse_lost_index
from .folders import open_folder
from .huggingface import is_saved, open_hf
from .object_folder import open_object_folder
from .shards import is_shards, open_shards

__all__ = [
    "ArraySource",
    "Gatherable",
    "Shrinkable",
    "Source",
    "SourceWrapper",
    "SubsetSource",
    "features_of",
    "gathered",
    "is_video",
    "need_pixels",
    "open_source",
    "shrunk",
    "tell_lost",
    "views_of",
]

PREFIX = "python:"
"""Begins the text that stands for images in memory; the keyword and the name of a class follow."""
_NAMED = 4
"""So many of the files that are left out are named on stderr."""


class Source(Protocol):
    """N images by row. Sources can be pickled and forked: worker processes read from them."""

    @property
    def items(self) -> Sequence[str]:
        """N different item ids, valid Unicode text."""

    @property
    def class_of(self) -> Sequence[str] | None:
        """N class names, where the source itself carries labels."""

    def __len__(self) -> int:
        """N."""

    def read(self, row: int) -> NDArray[np.uint8]:
        """The image, (H, W, 3) uint8, or (H, W, 1) from an array of grey images; a video, (T, H, W, 3).

        Raises:
            ImageError: it cannot be used; the message is the reason.
        """


@runtime_checkable
class Shrinkable(Protocol):
    """A source that can decode large JPEGs at a reduced size, which is much faster."""

    def shrunk(self, at_least: int) -> Source:
        """The same images, perhaps smaller, but not below ``at_least`` on the shorter side."""


def is_video(source: Source) -> bool:
    """Whether the items of a source are videos."""
    return bool(getattr(source, "is_video", False))


def shrunk(source: Source, at_least: int) -> Source:
    """The source with large JPEGs decoded at 1/2, 1/4 or 1/8 of their size, where it can do that.

    The shorter side does not fall below ``at_least``; twice the input side of the network keeps all
    the detail that a resized crop would show.
    """
    return source.shrunk(at_least) if isinstance(source, Shrinkable) else source


@runtime_checkable
class Gatherable(Protocol):
    """A source that can read many images at once for less than one by one."""

    def gathered(self, rows: NDArray[np.int64]) -> Source:
        """The same images, with what these need at hand."""


def gathered(source: Source, rows: NDArray[np.int64]) -> Source:
    """The source with the bytes of these rows at hand, where they are had for less together."""
    return source.gathered(rows) if isinstance(source, Gatherable) else source


class SourceWrapper:
    """A source that keeps the pixels of another one: everything else is the other's."""

    source: Source

    def __len__(self) -> int:
        return len(self.source)

    @property
    def items(self) -> Sequence[str]:
        """Those of the source."""
        return self.source.items

    @property
    def class_of(self) -> Sequence[str] | None:
        """Those of the source."""
        return self.source.class_of

    @property
    def is_video(self) -> bool:
        """Whether they are videos."""
        return is_video(self.source)


@final
@dataclass(frozen=True, eq=False, repr=False)
class SubsetSource:
    """Some rows of another source."""

    source: Source
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def items(self) -> Sequence[str]:
        """Their item ids."""
        names = self.source.items
        return [names[row] for row in self.rows.tolist()]

    @cached_property
    def class_of(self) -> Sequence[str] | None:
        """Their class names."""
        names = self.source.class_of
        return None if names is None else [names[row] for row in self.rows.tolist()]

    @property
    def is_video(self) -> bool:
        """Whether they are videos."""
        return is_video(self.source)

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8; raises ImageError."""
        return self.source.read(int(self.rows[row]))

    def shrunk(self, at_least: int) -> SubsetSource:
        """The same images, perhaps smaller."""
        return SubsetSource(shrunk(self.source, at_least), self.rows)

    def gathered(self, rows: NDArray[np.int64]) -> SubsetSource:
        """The same images, with what these need at hand."""
        return SubsetSource(gathered(self.source, self.rows[rows]), self.rows)


def open_source(
    where: str | Path, items: Sequence[str] | None = None, *, cache: Path | None = None
) -> Source:
    """Open images by what ``where`` is.

    ======================================  =====================================================
    a folder                                image files, also in folders within it; the items are
                                            relative paths. When all lie in first-level folders,
                                            those are the classes (torchvision's ImageFolder).
                                            Or video files in the same way
    a folder with ``_features.json``        a feature table of ``reteach embed``
    ``x.npz``                               arrays ``images`` and optionally ``labels``,
                                            ``classes``, ``items``
    ``x.tar``, ``x/{000..009}.tar``         WebDataset shards, also with wildcards
    ``hf:name``, ``hf:path``, ``hf:…:split``  a Hugging Face data set
    ``cifar:path``, ``cifar:path:test``     CIFAR-10 or CIFAR-100 as published
    ======================================  =====================================================

    Args:
        items: open only these, in this order.
        cache: folder for what is slow to find out twice: the index of tar shards.

    Files there that are no images to us are named on stderr, see :func:`tell_lost`.

    Raises:
        UserError: nothing there, nothing in it, or nothing that is known.
    """
    source = _opened(where, items, cache)
    tell_lost(source, str(where))
    return source


def open_features(folder: Path) -> ArraySource:
    """A feature table as images; several views are columns of such a picture.

    Raises:
        UserError: unfinished or damaged.
    """
    table = read_table(folder)
    return ArraySource(table.features, table.items, table.class_of, features=table.settings)


def features_of(source: Source | None) -> Mapping[str, Any] | None:
    """How the features of a source were made; None: it holds images."""
    source = source.source if isinstance(source, SubsetSource) else source
    return getattr(source, "features", None)


def views_of(source: Source | None) -> int:
    """How many feature vectors stand for each image of a feature table; 1 of everything else."""
    source = source.source if isinstance(source, SubsetSource) else source
    held = isinstance(source, ArraySource) and source.features is not None
    return int(source.images.shape[2]) if held else 1  # type: ignore[union-attr]


def need_pixels(source: Source | None, what: str) -> None:
    """Refuse features where pixels are looked at.

    Raises:
        UserError: the source holds features; names ``what`` looks at pixels.
    """
    if features_of(source) is not None:
        raise UserError(f"{what} looks at pixels, and these are features: give it the images")


def tell_lost(source: Source, where: str) -> None:
    """Say on stderr how many files are left out because they are no images to us, and the first of them.

    Every command opens its images through :func:`open_source`, or its shards one by one through
    :mod:`.parts`, so that none of them skips a photo without a word.
    """
    lost: Sequence[tuple[str, str]] = getattr(source, "lost", ())
    if not lost:
        return
    first = ", ".join(f"{name!r} ({reason})" for name, reason in lost[:_NAMED])
    more = ", …" if len(lost) > _NAMED else ""
    count = "1 file is" if len(lost) == 1 else f"{len(lost):,} files are"
    note(f"{where}: {count} left out as not readable here: {first}{more}")


def _opened(where: str | Path, items: Sequence[str] | None, cache: Path | None) -> Source:
    text = images_at_store(str(where))
    path = Path(text)
    if os.path.isdir(path) and not text.startswith(("hf:", "cifar:", PREFIX)):
        if is_table(path):
            table = open_features(path)
            return table if items is None else _select(table, items, text)
        _not_another_kind(path)
        return open_folder(path, items)
    source: Source
    if text.startswith(PREFIX):
        source = find(text.split(":")[1], text)
    elif text.startswith("hf:"):
        source = open_hf(text.removeprefix("hf:"))
    elif text.startswith("cifar:"):
        source = open_cifar(text.removeprefix("cifar:"))
    elif is_shards(text):
        source = open_shards(text, cache)
    elif (root := address(text)) is not None:
        source = open_object_folder(root)
    elif path.suffix.lower() == ".npz":
        source = open_npz(path)
    else:
        refuse_missing_images(text)
        raise UserError(
            f"{text} is none of: a folder of images, .npz, .tar shards, hf:NAME, cifar:FOLDER"
        )
    return source if items is None else _select(source, items, text)


def _not_another_kind(folder: Path) -> None:
    """Say how a folder of another kind is opened, instead of finding no images in it."""
    if is_saved(folder):
        raise UserError(f"{folder} is a Hugging Face data set: write hf:{folder}")
    names = names_in(folder, 100)
    if {"data_batch_1", "data_batch_1.bin"} & set(names):
        raise UserError(f"{folder} is CIFAR as published: write cifar:{folder}")
    if names and all(name.lower().endswith(".tar") for name in names):
        raise UserError(f"{folder} holds tar shards: write '{folder}/*.tar'")
    refuse_lost_index(folder, names)


def _select(source: Source, items: Sequence[str], where: str) -> Source:
    rows = rows_among(items, source.items)
    if missing := [items[i] for i in np.flatnonzero(rows < 0).tolist()]:
        raise UserError(f"{where}: {len(missing)} items are not there, first: {missing[0]!r}")
    if not len(rows) or first_repeated(items) is not None:
        raise UserError(f"{where}: the list of items is empty, or names one of them twice")
    return source.select(rows) if isinstance(source, ArraySource) else SubsetSource(source, rows)
