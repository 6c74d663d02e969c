"""What raters read about a class: a title and a description, from a table of the user's."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..spreadsheet import check_cells, check_columns, csv_rows

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
        numbered = list(csv_rows(path, text))
        _no_surplus(path, numbered)
    else:
        lines = enumerate(text, start=1)
        numbered = [(n, line.rstrip("\r\n").split("\t")) for n, line in lines if line.strip()]
    header = [cell.strip().lower() for cell in numbered[0][1]] if numbered else []
    key = next((header.index(name) for name in _KEY if name in header), None)
    if key is None:
        key, title, description = 0, 1, 2
    else:
        check_columns(path, header)
        numbered = numbered[1:]
        title = next((at for name in _TITLE if (at := _at(header, name)) not in (-1, key)), -1)
        description = next((at for name in _DESCRIPTION if (at := _at(header, name)) >= 0), -1)
        if title < 0:
            raise UserError(f"{path}: no column 'title' (found: {', '.join(header)})")
    out: dict[str, ClassText] = {}
    for number, cells in numbered:
        if len(cells) <= title:
            raise UserError(
                f"{path}: line {number} should have a class and a title: {cells[0][:60]!r}"
            )
        about = cells[description].strip() if 0 <= description < len(cells) else ""
        name = cells[key].strip()
        text_ = ClassText(cells[title].strip() or cells[key], about)
        if out.setdefault(name, text_) != text_:
            raise UserError(f"{path}: line {number}: class {name!r} stands twice, with other words")
    return out


def _no_surplus(path: Path, rows: list[tuple[int, list[str]]]) -> None:
    """An unquoted comma would cut a description off; without a header there are three columns."""
    header = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    columns = len(header) if set(_KEY) & set(header) else 3
    for number, cells in rows:
        if len(cells) > columns:
            check_cells(path, number, len(cells), columns)


def _at(header: list[str], name: str) -> int:
    return header.index(name) if name in header else -1
