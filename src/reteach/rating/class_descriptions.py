"""What raters read about a class: a title and a description, from a table of the user's."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..spreadsheet import check_cells

_KEY = ("class", "wnid", "name")
_TITLE = ("title", "lemmas", "name")
_DESCRIPTION = ("description", "definition")


@dataclass(frozen=True)
class ClassText:
    """A class as raters see it."""

    title: str
    description: str


def read_names(path: Path) -> dict[str, ClassText]:
    """Class -> text, from a ``.csv`` or a tab-separated file.

    The columns are found by their names (``class`` or ``wnid``; ``title``, ``lemmas`` or ``name``;
    ``description`` or ``definition``), or, without a header, by their order.

    Raises:
        UserError: no such file, not text, a line without a title, or one with more cells than columns.
    """
    if not path.is_file():
        raise UserError(f"class names {path} do not exist")
    try:
        text = io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file") from None
    if path.suffix.lower() == ".csv":
        rows = [cells for cells in csv.reader(text) if cells]
        _no_surplus(path, rows)
    else:
        rows = [line.rstrip("\r\n").split("\t") for line in text if line.strip()]
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    key = next((header.index(name) for name in _KEY if name in header), None)
    if key is None:
        key, title, description = 0, 1, 2
    else:
        rows = rows[1:]
        title = next((at for name in _TITLE if (at := _at(header, name)) not in (-1, key)), -1)
        description = next((at for name in _DESCRIPTION if (at := _at(header, name)) >= 0), -1)
        if title < 0:
            raise UserError(f"{path}: no column 'title' (found: {', '.join(header)})")
    out: dict[str, ClassText] = {}
    for number, cells in enumerate(rows, start=1):
        if len(cells) <= title:
            raise UserError(
                f"{path}: row {number} should have a class and a title: {cells[0][:60]!r}"
            )
        about = cells[description].strip() if 0 <= description < len(cells) else ""
        out[cells[key].strip()] = ClassText(cells[title].strip() or cells[key], about)
    return out


def _no_surplus(path: Path, rows: list[list[str]]) -> None:
    """An unquoted comma would cut a description off; without a header there are three columns."""
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    columns = len(header) if set(_KEY) & set(header) else 3
    for number, cells in enumerate(rows, start=1):
        if len(cells) > columns:
            check_cells(path, number, len(cells), columns)


def _at(header: list[str], name: str) -> int:
    return header.index(name) if name in header else -1
