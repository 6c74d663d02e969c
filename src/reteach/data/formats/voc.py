"""Pascal VOC's annotations (one XML file per image) as label sets, and label sets as such a folder.

Written are ``Annotations/*.xml`` with objects that have a name and no box, since labels of images have none;
VOC's own lists of image labels, ``ImageSets/Main/CLASS_default.txt`` (1 present, -1 absent, 0 unknown), with
``default.txt`` of all images; and CVAT's ``labelmap.txt``, which holds the class list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from ...errors import UserError
from ...files import new_folder, writing
from ...item_index import first_repeated
from ...labels import LabelSet, Multi, Single
from ...tables import LabelTable
from .annotations import Annotations
from .carry import sets_of
from .xml_files import XmlReader, xml_text

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions

MOST_BYTES = 16 * 1024 * 1024
_NAME = ("annotation", "object", "name")
_DIFFICULT = ("annotation", "object", "difficult")
_OBJECT = ("annotation", "object")
_FILE = ("annotation", "filename")


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """The label sets of :func:`read_voc`, of a folder of XML files or the one above it."""
    inner = source / "Annotations"
    folder = inner if inner.is_dir() else source
    listed = None if options.split is None else Path(options.split)
    own = source / "ImageSets" / "Main" / f"{options.split}.txt"
    found = read_voc(folder, own if own.is_file() else listed)
    table = found.table(f"voc: {source.name}")
    named = _label_map(source / "labelmap.txt")
    if named is None:
        return table
    used = table.used_classes()
    classes = [name for name, drawn in named if not drawn or name != "background" or name in used]
    return replace(table, labels=table.labels.reorder(classes, str(source / "labelmap.txt")))


def _label_map(file: Path) -> list[tuple[str, bool]] | None:
    """(class, whether it has a colour) of CVAT's ``name:colour:parts:actions``; None: no such file."""
    if not file.is_file():
        return None
    lines = file.read_text("utf-8", errors="replace").splitlines()
    parts = [line.split(":") for line in lines if line.strip() and not line.startswith("#")]
    return [(name, bool("".join(more[:1]))) for name, *more in parts]


def write(table: LabelTable, out: Path, options: ConvertOptions) -> tuple[str, ...]:
    """A folder as VOC's.

    Raises:
        UserError: names that the format cannot hold; the folder is there already.
    """
    stems = _stems(table.items)
    odd = next((c for c in table.labels.classes if set(c) & set(":/\\\n")), None)
    if odd is not None:
        raise UserError(f"voc parts and names its lists by classes: it cannot hold {odd!r}")
    labels = sets_of(table.labels) if isinstance(table.labels, Single) else table.labels
    files = zip(stems, table.items, labels.names(), _unknown(labels), strict=True)
    with new_folder(out) as folder, writing(out):
        (folder / "Annotations").mkdir()
        for stem, item, present, open_ in files:
            things = [(name, 0) for name in present] + [(name, 1) for name in open_]
            text = "".join(
                f"  <object><name>{xml_text(name)}</name><difficult>{hard}</difficult></object>\n"
                for name, hard in things
            )
            (folder / "Annotations" / f"{stem}.xml").write_text(
                f"<annotation>\n  <filename>{xml_text(item)}</filename>\n{text}</annotation>\n",
                "utf-8",
            )
        (folder / "labelmap.txt").write_text(
            "".join(f"{name}:::\n" for name in table.labels.classes), "utf-8"
        )
        if any(len(stem.split()) != 1 for stem in stems):
            return ("image names with blanks: VOC's lists of images and classes are left out",)
        _write_lists(labels, stems, folder / "ImageSets" / "Main")
    return ()


def _unknown(labels: LabelSet) -> list[list[str]]:
    """The unknown classes of each image."""
    if isinstance(labels, Multi) and labels.unknown is not None:
        return labels.unknown.names()
    return [[] for _ in range(len(labels))]


def _stems(items: Sequence[str]) -> list[str]:
    """The names of images without ending, by which VOC knows them."""
    foldered = next((item for item in items if "/" in item or item.startswith(".")), None)
    if foldered is not None:
        raise UserError(f"voc names images without folders: it cannot hold {foldered!r}")
    stems = [Path(item).stem for item in items]
    if (twice := first_repeated(stems)) is not None:
        raise UserError(f"voc names images without ending: two would be called {twice!r}")
    return stems


def _write_lists(labels: LabelSet, stems: Sequence[str], folder: Path) -> None:
    """The list of images, and for each class whether they have it."""
    folder.mkdir(parents=True)
    (folder / "default.txt").write_text("".join(f"{stem}\n" for stem in stems), "utf-8")
    known = labels.known_entries()
    present = labels.present()
    for column, name in enumerate(labels.classes):
        open_ = np.zeros(len(stems), np.bool_) if known is None else ~known[:, column]
        marks = np.where(present[:, column], 1, np.where(open_, 0, -1)).tolist()
        (folder / f"{name}_default.txt").write_text(
            "".join(f"{stem} {mark:2d}\n" for stem, mark in zip(stems, marks, strict=True)), "utf-8"
        )


def read_voc(folder: Path, listed: Path | None = None) -> Annotations:
    """The classes of which an image has at least one object.

    Where all objects of a class in an image are marked *difficult* it is unknown whether the class is
    there: VOC's own evaluation counts such images neither way. Parts of objects (a person's head) are
    no classes. The classes are all names that occur, sorted.

    Args:
        folder: of the XML files (``Annotations``).
        listed: a text file with an image name per line (``ImageSets/Main/train.txt``), which gives the
            images and their order; further columns are ignored. None: all files, sorted.

    Raises:
        UserError: missing or damaged files; files with a document type, whose entities could grow
            without bound or read other files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"folder {folder} does not exist")
    if listed is None:
        files = sorted(folder.glob("*.xml"))
        if not files:
            raise UserError(f"{folder} has no .xml files")
    else:
        files = [folder / f"{name}.xml" for name in _names(Path(listed))]
    read = [_VocReader(file) for file in files]
    classes = sorted({name for one in read for name, _ in one.objects})
    column = {name: i for i, name in enumerate(classes)}
    present: list[tuple[int, int]] = []
    unknown: list[tuple[int, int]] = []
    for row, one in enumerate(read):
        for name, difficult in one.objects:
            (unknown if difficult else present).append((row, column[name]))
    try:
        return Annotations.of([one.item for one in read], present, unknown, classes)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None


def _names(listed: Path) -> list[str]:
    if not listed.is_file():
        raise UserError(f"list of images {listed} does not exist")
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines()
    names = [line.split()[0] for line in lines if line.strip()]
    for name in names:
        if "/" in name or "\\" in name or name.startswith("."):
            raise UserError(f"{listed}: {name!r} is no image name")
    return names


@final
class _VocReader(XmlReader):
    """One file: its image and its objects (name, difficult). Nothing is built that is not wanted."""

    def __init__(self, file: Path) -> None:
        self.item = f"{file.stem}.jpg"
        self.objects: list[tuple[str, bool]] = []
        self._name, self._difficult = "", False
        super().__init__(file, "annotation", "an annotation of Pascal VOC", MOST_BYTES)

    def started(self, path: tuple[str, ...], attributes: Mapping[str, str]) -> None:
        if path == _OBJECT:
            self._name, self._difficult = "", False

    def ended(self, path: tuple[str, ...], text: str) -> None:
        if path == _NAME:
            self._name = text
        elif path == _DIFFICULT:
            self._difficult = text not in ("", "0")
        elif path == _FILE and text:
            self.item = text.replace("\\", "/").rpartition("/")[2]
        elif path == _OBJECT:
            if not self._name:
                raise UserError(f"{self.file}: an object has no name")
            self.objects.append((self._name, self._difficult))
