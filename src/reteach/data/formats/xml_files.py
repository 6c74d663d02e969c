"""XML that somebody else wrote, within bounds: no document type, no depth, nothing built in vain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape

from ...errors import UserError

MOST_DEEP = 30
_UNSAYABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmlReader:
    """Walks through one file and calls :meth:`started` and :meth:`ended` for each element.

    Args:
        file: what is read, when the reader is made.
        root: the name of the outermost element.
        what: the file is called, when it is another.
        most: bytes.

    Raises:
        UserError: missing or damaged; a document type, whose entities could grow without bound or read other
            files; another root.
    """

    def __init__(self, file: Path, root: str, what: str, most: int) -> None:
        self.file = file
        self._root, self._what = root, what
        self._path: list[str] = []
        self._text: list[str] = []
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        try:
            if file.stat().st_size > most:
                raise UserError(f"{file}: larger than any annotation ({most >> 20} MB)")
            parser.Parse(file.read_bytes(), True)
        except OSError:
            raise UserError(f"annotation {file} cannot be read") from None
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise UserError(f"{file}: not a readable XML file ({error})") from None

    def started(self, path: tuple[str, ...], attributes: Mapping[str, str]) -> None:
        """An element begins; ``path`` has the names from the root to it."""

    def ended(self, path: tuple[str, ...], text: str) -> None:
        """An element ends; ``text`` is what stood in it since the last mark, without blanks around."""

    def _refuse(self, *_: object) -> NoReturn:
        raise UserError(f"{self.file}: a document type with entities is not accepted")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > MOST_DEEP:
            raise UserError(f"{self.file}: elements within elements, deeper than {MOST_DEEP}")
        if len(self._path) == 1 and name != self._root:
            raise UserError(f"{self.file}: not {self._what} (it begins <{name[:40]}>)")
        self._text.clear()
        self.started(tuple(self._path), attributes)

    def _end(self, _: str) -> None:
        self.ended(tuple(self._path), "".join(self._text).strip())
        self._path.pop()
        self._text.clear()


def xml_text(name: str) -> str:
    """A name between marks or in double quotes.

    Raises:
        UserError: it has characters that XML cannot hold, or blanks around that readers take off.
    """
    if _UNSAYABLE.search(name) or name != name.strip() or "\n" in name or not name:
        raise UserError(f"XML cannot hold the name {name!r}: rename it")
    return escape(name, {'"': "&quot;", "\t": "&#9;", "\r": "&#13;"})
