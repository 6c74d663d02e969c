"""Pascal VOC's annotations (one XML file per image) as label sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, final
from xml.parsers import expat

from ...errors import UserError
from ...tables import LabelTable
from .annotations import Annotations

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions

MOST_BYTES = 16 * 1024 * 1024
MOST_DEEP = 30
_NAME = ("annotation", "object", "name")
_DIFFICULT = ("annotation", "object", "difficult")
_OBJECT = ("annotation", "object")
_FILE = ("annotation", "filename")


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """The label sets of :func:`read_voc`."""
    listed = None if options.split is None else Path(options.split)
    return read_voc(source, listed).table(f"voc: {source.name}")


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
class _VocReader:
    """One file: its image and its objects (name, difficult). Nothing is built that is not wanted."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.item = f"{file.stem}.jpg"
        self.objects: list[tuple[str, bool]] = []
        self._path: list[str] = []
        self._text: list[str] = []
        self._name, self._difficult = "", False
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        try:
            if file.stat().st_size > MOST_BYTES:
                raise UserError(f"{file}: larger than any annotation ({MOST_BYTES >> 20} MB)")
            parser.Parse(file.read_bytes(), True)
        except OSError:
            raise UserError(f"annotation {file} cannot be read") from None
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise UserError(f"{file}: not a readable XML file ({error})") from None

    def _refuse(self, *_: object) -> None:
        raise UserError(f"{self.file}: a document type with entities is not accepted")

    def _start(self, name: str, _: object) -> None:
        self._path.append(name)
        if len(self._path) > MOST_DEEP:
            raise UserError(f"{self.file}: elements within elements, deeper than {MOST_DEEP}")
        if len(self._path) == 1 and name != "annotation":
            raise UserError(
                f"{self.file}: not an annotation of Pascal VOC (it begins <{name[:40]}>)"
            )
        self._text.clear()
        if tuple(self._path) == _OBJECT:
            self._name, self._difficult = "", False

    def _end(self, _: str) -> None:
        path, text = tuple(self._path), "".join(self._text).strip()
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
        self._path.pop()
        self._text.clear()
