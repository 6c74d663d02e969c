"""CelebA's attributes as label sets: ``list_attr_celeba.txt`` and ``list_eval_partition.txt``.

The first has the number of images, the names of its 40 attributes, and a line per image::

    202599
    5_o_Clock_Shadow Arched_Eyebrows Attractive …
    000001.jpg -1  1  1 -1 …

The second says with 0, 1 or 2 whether an image is for training, validation or the test. Both are kept apart
in the archive ``Anno`` and ``Eval``; the images lie in ``img_align_celeba``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...errors import UserError
from ...item_index import first_repeated, rows_among
from ...labels import Multi
from ...tables import LabelTable
from .annotations import Annotations

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions

Split = Literal["train", "val", "test", "all"]
_PARTS = {"train": "0", "val": "1", "test": "2"}


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """The label table of the part that is asked for."""
    match options.split or "train":
        case "train" | "val" | "test" | "all" as part:
            return read_celeba(source, options.partition, part).table(f"celeba: {source.name}")
        case other:
            raise UserError(f"--split must be train, val, test or all for celeba, got {other!r}")


def read_celeba(path: Path, partition: Path | None = None, split: Split = "train") -> Annotations:
    """The attributes that each image has; -1 says that it has not, so nothing is unknown.

    Args:
        path: ``list_attr_celeba.txt``.
        partition: ``list_eval_partition.txt``; not needed for ``split="all"``.

    Raises:
        UserError: a missing, damaged or other file; a partition that leaves an image out.
    """
    lines = _lines(path)
    number, _, first = next(lines, (1, [], ""))
    if not first.isdecimal() or len(first) > 9:
        raise UserError(
            f"{path}: the first line must be the number of images; CelebA's list_attr_celeba.txt is wanted"
        )
    _, classes, _ = next(lines, (2, [], ""))
    if not classes or {"1", "-1"} & set(classes):
        raise UserError(f"{path} line 2: the names of the attributes are wanted")
    if (twice := first_repeated(classes)) is not None:
        raise UserError(f"{path} line 2: attribute {twice!r} is named twice")
    items, bits = [], bytearray()
    for number, words, _ in lines:
        values = words[1:]
        if len(values) != len(classes) or not set(values) <= {"1", "-1"}:
            raise UserError(
                f"{path} line {number}: an image and {len(classes)} values of 1 or -1 are wanted"
            )
        items.append(words[0])
        bits += bytes(value == "1" for value in values)
    if len(items) != int(first):
        raise UserError(
            f"{path} announces {int(first):,} images and lists {len(items):,}: cut off?"
        )
    try:
        empty = Annotations.of(items, [], [], classes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    present = np.frombuffer(bytes(bits), np.bool_).reshape(len(items), len(classes))
    rows = _rows(items, path, partition, split)
    labels = Multi.from_dense(present[rows], classes)
    return Annotations(tuple(empty.items[row] for row in rows.tolist()), labels)


def _rows(
    items: list[str], path: Path, partition: Path | None, split: Split
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The images of a part, in the order of the attributes."""
    if split == "all":
        if partition is not None:
            raise UserError("--partition has no effect with --split all: leave out one of them")
        return np.arange(len(items))
    if partition is None:
        raise UserError(
            "--partition is missing: CelebA's list_eval_partition.txt says which images are for training; "
            "--split all takes all of them"
        )
    names, parts = [], []
    for number, words, _ in _lines(partition):
        if len(words) != 2 or words[1] not in _PARTS.values():
            raise UserError(f"{partition} line {number}: an image and 0, 1 or 2 are wanted")
        names.append(words[0])
        parts.append(words[1])
    if (twice := first_repeated(names)) is not None:
        raise UserError(f"{partition}: image {twice!r} is listed twice")
    at = rows_among(items, names)
    if (at < 0).any():
        missing = items[int(at.argmin())]
        raise UserError(f"{partition}: image {missing!r} of {path.name} is not listed")
    found = np.flatnonzero(np.array(parts)[at] == _PARTS[split])
    if not len(found):
        raise UserError(f"{partition}: no image of {path.name} is in the part {split}")
    return found


def _lines(path: Path) -> Iterator[tuple[int, list[str], str]]:
    """Number, words and text of each line that is not empty."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file") from None
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.split():
            yield number, words, line.strip()
