"""MS-COCO's object annotations (``instances_*.json``) as label sets, and label sets as such a file.

What is written has no boxes, since labels of images have none: ``pycocotools`` finds images by class in it,
and a detector finds nothing to learn from.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...files import atomic_write, plain_json
from ...item_index import first_repeated
from ...structured import parse_json
from ...tables import LabelTable
from .annotations import Annotations

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """The label sets of :func:`read_coco`."""
    return read_coco(source).table(f"coco: {source.name}")


def write(table: LabelTable, out: Path, options: ConvertOptions) -> tuple[str, ...]:
    """One annotation per image and class; the ids of images and categories count from 1 in their order."""
    rows, columns, _ = table.labels.pairs()
    content = {
        "info": {"description": f"labels of images, without boxes: {table.source}"},
        "images": [{"id": i, "file_name": item} for i, item in enumerate(table.items, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(table.labels.classes, 1)],
        "annotations": [
            {"id": i, "image_id": row + 1, "category_id": column + 1, "iscrowd": 0}
            for i, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True), 1)
        ],
    }
    atomic_write(out, plain_json(content, None))
    return ()


def read_coco(path: Path) -> Annotations:
    """The classes of which an image has at least one object, crowds included.

    Images without an object have the empty set (1,069 of COCO 2014's 123,287: papers leave them out).
    The classes keep the order of their ids. Memory is that of the JSON text and its objects, about 3 GB
    for the largest file.

    Args:
        path: a JSON object with ``images`` (id, file_name), ``annotations`` (image_id, category_id)
            and ``categories`` (id, name).

    Raises:
        UserError: missing, damaged, or another of COCO's files.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"annotation file {path} does not exist")
    try:
        content = parse_json(path.read_bytes())
    except ValueError:
        raise UserError(f"{path}: not a readable JSON file") from None
    images, objects, categories = (
        _list(content, name, path) for name in ("images", "annotations", "categories")
    )
    names = {_get(c, "id", path): str(_get(c, "name", path)) for c in categories}
    order = sorted(names, key=lambda key: (str(type(key)), key))
    classes = [names[key] for key in order]
    if (twice := first_repeated(classes)) is not None:
        raise UserError(f"{path}: category {twice!r} is listed twice")
    column = {key: i for i, key in enumerate(order)}
    row = {_get(image, "id", path): i for i, image in enumerate(images)}
    if len(row) != len(images):
        raise UserError(f"{path}: two images have the same id")
    present: set[tuple[int, int]] = set()
    for thing in objects:
        image, category = _get(thing, "image_id", path), _get(thing, "category_id", path)
        if image not in row:
            raise UserError(f"{path}: an annotation names image {image!r}, which is not listed")
        if category not in column:
            raise UserError(f"{path}: an annotation names category {category!r}, unknown there")
        present.add((row[image], column[category]))
    items = [str(_get(image, "file_name", path)).replace("\\", "/") for image in images]
    try:
        return Annotations.of(items, sorted(present), [], classes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _list(content: Any, name: str, path: Path) -> list[Any]:
    value = content.get(name) if isinstance(content, dict) else None
    if not isinstance(value, list):
        raise UserError(f"{path}: no list {name!r}; COCO's instances_*.json is wanted")
    return value


def _get(entry: Any, name: str, path: Path) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, str | int):
        raise UserError(f"{path}: an entry has no {name!r}; COCO's instances_*.json is wanted")
    return value
