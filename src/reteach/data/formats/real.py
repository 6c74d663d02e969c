"""ReaL's published labels (``real.json``) as label sets of ImageNet's validation images.

github.com/google-research/reassessed-imagenet publishes a JSON list of 50,000 lists of class indices, in the
order of the images' numbers. It names no image: the number in a file's name says whose labels are its.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...scores.classes import read_classes
from ...structured import parse_json
from ...tables import LabelTable
from ..sources.base import open_source
from .annotations import Annotations

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions

IMAGES, CLASSES = 50_000, 1_000
NAME = "ILSVRC2012_val_{:08d}.JPEG"
"""A validation image, by its number from 1."""
_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})(\.\w+)?")


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """The label sets of :func:`read_real`, of ``options.images`` if they are named."""
    items = None if options.images is None else open_source(options.images).items
    classes = None if options.classes is None else read_classes(options.classes)
    return read_real(source, items, classes).table(f"real: {source.name}")


def read_real(
    path: Path, items: Sequence[str] | None = None, classes: Sequence[str] | None = None
) -> Annotations:
    """The label set of each image; an empty one says that nobody could tell.

    Args:
        path: ``real.json``.
        items: the images, as their folder names them (``n01751748/ILSVRC2012_val_00000001.JPEG``, or without
            a class folder; any ending); by default all of them, in one folder.
        classes: names of the 1,000 classes in their order; by default their WordNet ids, as class folders
            of ImageNet are called.

    Raises:
        UserError: missing, damaged, another file than ReaL's, or images that are not ImageNet's.
    """
    sets = _sets(Path(path))
    names = wordnet_ids() if classes is None else tuple(classes)
    if len(names) != CLASSES:
        raise UserError(f"ReaL has {CLASSES:,} classes, the class list names {len(names):,}")
    if items is None:
        items = [NAME.format(number + 1) for number in range(IMAGES)]
    rows = [_row(item) for item in items]
    if len(set(rows)) < len(rows):
        seen: dict[int, str] = {}
        for item, row in zip(items, rows, strict=True):
            if row in seen:
                raise UserError(f"{seen[row]!r} and {item!r} are the same image by their number")
            seen[row] = item
    present = [(at, c) for at, row in enumerate(rows) for c in sorted(sets[row])]
    return Annotations.of(items, present, [], names)


def wordnet_ids() -> tuple[str, ...]:
    """The ids of ImageNet's 1,000 classes in the order of their indices, from timm."""
    package = find_spec("timm")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "data" / "_info" / "imagenet_synsets.txt"
    if file.is_file():  # what the function below reads, for which PyTorch would be imported
        return tuple(file.read_text("utf-8").split())
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(ImageNetInfo().label_names())  # type: ignore[no-untyped-call]


def _row(item: str) -> int:
    found = _NUMBER.fullmatch(item.rsplit("/", 1)[-1])
    if found is None or not 1 <= int(found[1]) <= IMAGES:
        raise UserError(
            f"{item!r} is not called like a validation image of ImageNet ({NAME.format(1)} … "
            f"{NAME.format(IMAGES)}): whose labels it has cannot be told"
        )
    return int(found[1]) - 1


def _sets(path: Path) -> list[list[int]]:
    if not path.is_file():
        raise UserError(f"{path} does not exist: name ReaL's real.json")
    try:
        found = parse_json(path.read_bytes())
    except ValueError:
        raise UserError(f"{path}: not a readable JSON file") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    if not isinstance(found, list) or len(found) != IMAGES:
        what = f"{len(found):,} entries" if isinstance(found, list) else type(found).__name__
        raise UserError(f"{path}: not ReaL's labels, a list of {IMAGES:,} lists, but {what}")
    for row, labels in enumerate(found):
        _check(path, row, labels)
    return found


def _check(path: Path, row: int, labels: Any) -> None:
    where = f"{path}: image {row + 1:,}"
    if not isinstance(labels, list):
        raise UserError(
            f"{where} has {str(labels)[:40]!r} where a list of class indices is expected"
        )
    wrong = next((c for c in labels if type(c) is not int or not 0 <= c < CLASSES), None)
    if wrong is not None or None in labels:
        raise UserError(
            f"{where} has class {str(wrong)[:40]}, which is no index from 0 to {CLASSES - 1}"
        )
    if len(set(labels)) < len(labels):
        raise UserError(f"{where} has a class twice: {str(labels)[:60]}")
