"""YOLO's classification data sets: a folder per split, in it a folder per class, in it the images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from ...files import new_folder
from ...item_index import first_repeated, rows_among
from ...labels import Single
from ...tables import LabelTable
from ..sources.base import open_source
from .images import copy, image_files

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """One label per image: its first folder. Folders without an image are classes too.

    Items are relative to the folder of the split: ``SOURCE/train`` where there is one and no other is asked
    for.

    Raises:
        UserError: no such folder, images outside of class folders.
    """
    folder = source / (options.split or "train")
    if options.split is None and not folder.is_dir():
        folder = source
    if not folder.is_dir():
        raise UserError(f"folder {folder} does not exist")
    images = open_source(folder)
    if images.class_of is None:
        raise UserError(f"{folder}: images outside of class folders have no label")
    classes = sorted(each.name for each in folder.iterdir() if each.is_dir())
    classes = [name for name in classes if not name.startswith(".")]
    index = rows_among(images.class_of, classes)
    if (index < 0).any():
        raise UserError(f"{folder}: {images.class_of[int(index.argmin())]!r} is no class folder")
    return LabelTable(
        tuple(images.items), Single(index, classes=tuple(classes)), f"yolo: {source.name}"
    )


def write(table: LabelTable, out: Path, options: ConvertOptions) -> tuple[str, ...]:
    """The folder of one split, such as ``data/train``: images are copied into class folders.

    An item that begins with its class stays what it is; others are called CLASS/ITEM.

    Raises:
        UserError: no ``--images``; a class that no folder can be called.
    """
    odd = next(
        (c for c in table.labels.classes if c[:1] in ("", ".") or set(c) & set("/\\\0")), None
    )
    if odd is not None:
        raise UserError(f"yolo has a folder per class, and none can be called {odd!r}")
    files = image_files(options.images, table.items, "yolo")
    classes = [names[0] for names in table.labels.names()]
    names = [_below(item, name) for item, name in zip(table.items, classes, strict=True)]
    if (twice := first_repeated(names)) is not None:
        raise UserError(f"yolo: two images would be called {twice!r}")
    with new_folder(out) as folder:
        for name in table.labels.classes:
            (folder / name).mkdir()
        for file, name in zip(files, names, strict=True):
            copy(file, folder / name)
    moved = int(np.sum([a != b for a, b in zip(names, table.items, strict=True)]))
    first = next((f"{a} is {b}" for a, b in zip(table.items, names, strict=True) if a != b), "")
    return (f"{moved:,} images are called after their class there: {first}",) if moved else ()


def _below(item: str, name: str) -> str:
    return item if item.startswith(f"{name}/") else f"{name}/{item}"
