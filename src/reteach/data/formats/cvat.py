"""CVAT's XML ("CVAT for images 1.1") as label sets, and label sets as such a file of tags.

Tags of an image, and boxes, polygons, points and masks in it, all say that the class is there. What is
written are tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, final

import PIL.Image

from ...errors import UserError
from ...files import atomic_write
from ...item_index import first_repeated
from ...tables import LabelTable
from .annotations import Annotations
from .images import image_files
from .xml_files import XmlReader, xml_text

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions

MOST_BYTES = 1 << 30
_IMAGE = ("annotations", "image")


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """The classes of each image; the class list is that of the task, or the names in use, sorted.

    Raises:
        UserError: damaged, or tracks of a video; a class that the task does not list.
    """
    found = _Reader(source)
    if found.videos:
        raise UserError(f"{source}: tracks of a video; export it as 'CVAT for images 1.1'")
    used = sorted({name for names in found.images.values() for name in names})
    classes = list(dict.fromkeys(found.classes)) or used
    column = {name: i for i, name in enumerate(classes)}
    if odd := [name for name in used if name not in column]:
        raise UserError(f"{source}: class {odd[0]!r} is not among the labels of its task")
    if (twice := first_repeated(found.names)) is not None:
        raise UserError(f"{source}: image {twice!r} is listed twice")
    present = [
        (row, column[name])
        for row, names in enumerate(found.images.values())
        for name in sorted(names)
    ]
    try:
        table = Annotations.of(list(found.images), present, [], classes)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    return table.table(f"cvat: {source.name}")


@final
class _Reader(XmlReader):
    """The images with the classes in them, and the labels of the task."""

    def __init__(self, file: Path) -> None:
        self.images: dict[str, set[str]] = {}
        self.names: list[str] = []
        self.classes: list[str] = []
        self.videos = False
        super().__init__(file, "annotations", "an annotation file of CVAT", MOST_BYTES)

    def started(self, path: tuple[str, ...], attributes: Mapping[str, str]) -> None:
        if path == _IMAGE:
            if not attributes.get("name"):
                raise UserError(f"{self.file}: an image has no name")
            self.names.append(attributes["name"])
            self.images.setdefault(attributes["name"], set())
        elif path[:-1] == _IMAGE and "label" in attributes:
            self.images[self.names[-1]].add(attributes["label"])
        elif path == ("annotations", "track"):
            self.videos = True

    def ended(self, path: tuple[str, ...], text: str) -> None:
        if path[:2] == ("annotations", "meta") and path[-3:] == ("labels", "label", "name"):
            self.classes.append(text)


def write(table: LabelTable, out: Path, options: ConvertOptions) -> tuple[str, ...]:
    """One file, with the sizes of the images where their folder is known."""
    sizes = [""] * len(table.items)
    if options.images is not None:
        sizes = [_size(file) for file in image_files(options.images, table.items, "cvat")]
    atomic_write(out, "".join(_lines(table, sizes)))
    return ()


def _size(file: Path) -> str:
    try:
        with PIL.Image.open(file) as image:
            return f' width="{image.width}" height="{image.height}"'
    except (OSError, ValueError, PIL.Image.DecompressionBombError):
        raise UserError(f"{file} is no readable image") from None


def _lines(table: LabelTable, sizes: list[str]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    yield f"  <meta>\n    <task>\n      <size>{len(table.items)}</size>\n"
    yield "      <mode>annotation</mode>\n      <labels>\n"
    for name in table.labels.classes:
        yield f"        <label><name>{xml_text(name)}</name><type>tag</type>"
        yield "<attributes></attributes></label>\n"
    yield "      </labels>\n    </task>\n  </meta>\n"
    rows = zip(table.items, table.labels.names(), sizes, strict=True)
    for number, (item, names, size) in enumerate(rows):
        yield f'  <image id="{number}" name="{xml_text(item)}"{size}>\n'
        for name in names:
            yield f'    <tag label="{xml_text(name)}" source="manual"></tag>\n'
        yield "  </image>\n"
    yield "</annotations>\n"
