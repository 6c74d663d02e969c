"""The label lists of published noisy data sets, as label tables for their image folders.

``reteach train --images ROOT --labels table.parquet`` then takes them like anybody's own:

* Clothing1M — ``noisy_label_kv.txt`` and ``clean_label_kv.txt`` (path and class number), key lists such
  as ``noisy_train_key_list.txt``, ``category_names_eng.txt``;
* WebVision — ``info/train_filelist_google.txt`` and ``info/train_filelist_flickr.txt`` (together its 2.4
  million training images), ``info/val_filelist.txt`` (each path and class number), ``info/synsets.txt``;
  papers often take the first 50 classes of Google's images;
* Tiny-ImageNet — ``train/n…/images``, ``val/val_annotations.txt``, ``wnids.txt``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from ...errors import UserError
from ...item_index import first_repeated, rows_among
from ...labels import Single
from ...tables import LabelTable

Clothing = Literal["noisy_train", "clean_train", "clean_val", "clean_test"]
Webvision = Literal["train", "google", "flickr", "val"]


def clothing1m(root: Path, part: Clothing) -> LabelTable:
    """One part of Clothing1M; items are paths below ``root``, as its key lists write them."""
    classes = tuple(_lines(root / "category_names_eng.txt"))
    labelled = root / f"{part.split('_')[0]}_label_kv.txt"
    known = dict(_pairs(labelled))
    keys = _lines(root / f"{part}_key_list.txt")
    missing = [key for key in keys if key not in known]
    if missing:
        raise UserError(f"{labelled}: {len(missing)} keys have no label, first: {missing[0]!r}")
    return _table(keys, [known[key] for key in keys], classes, f"Clothing1M {part}", labelled)


def webvision(root: Path, part: Webvision, first: int | None = None) -> LabelTable:
    """WebVision's training images, those of one source, or its validation images.

    Items are relative to ``root``; validation images lie in ``val_images_256``.

    Args:
        part: ``train`` is ``google`` and ``flickr``.
        first: so many classes; None: all.

    Raises:
        UserError: a missing or damaged list, too many classes asked for.
    """
    info = root / "info"
    lines = _lines(info / "synsets.txt")
    classes = tuple(line.split(maxsplit=1)[0] for line in lines)
    if first is not None and not 1 <= first <= len(classes):
        raise UserError(f"WebVision has {len(classes)} classes, cannot take the first {first}")
    wanted = len(classes) if first is None else first
    files = {
        "train": ("train_filelist_google.txt", "train_filelist_flickr.txt"),
        "google": ("train_filelist_google.txt",),
        "flickr": ("train_filelist_flickr.txt",),
        "val": ("val_filelist.txt",),
    }[part]
    pairs: list[tuple[str, int]] = []
    for file in (info / name for name in files):
        if part == "train" and not file.is_file():
            raise UserError(
                f"{file} does not exist: the training images are Google's and Flickr's; for those of one "
                "source give --split google or --split flickr"
            )
        pairs += (found := _pairs(file))
        wrong = next((n for _, n in found if not 0 <= n < len(classes)), None)
        if wrong is not None:
            raise UserError(f"{file}: class {wrong} of {len(classes)}")
    folder = "val_images_256/" if part == "val" else ""
    kept = [(f"{folder}{name}", number) for name, number in pairs if number < wanted]
    names, numbers = [name for name, _ in kept], [number for _, number in kept]
    return _table(names, numbers, classes[:wanted], f"WebVision {part}", file)


def tiny_imagenet(root: Path, part: Literal["train", "val"]) -> LabelTable:
    """Tiny-ImageNet's training or validation images; classes are WordNet ids in sorted order."""
    file = root / "wnids.txt"
    classes = tuple(sorted(_lines(file)))
    if part == "train":
        found = [
            (f"train/{name}/images/{image.name}", name)
            for name in classes
            for image in sorted((root / "train" / name / "images").glob("*.JPEG"))
        ]
    else:
        file = root / "val" / "val_annotations.txt"
        rows = [line.split("\t") for line in _lines(file)]
        if any(len(row) < 2 for row in rows):
            raise UserError(f"{file}: expected an image and a class on each line")
        found = [(f"val/images/{row[0]}", row[1]) for row in rows]
    numbers = rows_among((name for _, name in found), classes)
    if (numbers < 0).any():
        unknown = found[int(numbers.argmin())][1]
        raise UserError(f"{file}: class {unknown!r} is not in wnids.txt")
    if not found:
        raise UserError(f"{root} holds no Tiny-ImageNet {part} images")
    return _table(
        [name for name, _ in found], numbers.tolist(), classes, f"Tiny-ImageNet {part}", file
    )


def _table(
    names: list[str], numbers: list[int], classes: tuple[str, ...], source: str, file: Path
) -> LabelTable:
    if not names:
        raise UserError(f"{file}: no images are listed")
    if first_repeated(names) is not None:
        raise UserError(f"{file}: an image is listed twice")
    try:
        return LabelTable(tuple(names), Single(np.array(numbers, np.int64), classes), source)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _pairs(file: Path) -> list[tuple[str, int]]:
    """(path, class number) from lines of both; paths may hold spaces."""
    pairs = []
    for number, line in enumerate(_lines(file), 1):
        name, _, label = line.rpartition(" ")
        if not name or not label.isdecimal() or len(label) > 9:
            raise UserError(f"{file} line {number}: expected a path and a class number")
        pairs.append((name, int(label)))
    return pairs


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not a UTF-8 text file") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
