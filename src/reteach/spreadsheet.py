"""CSV that a spreadsheet opens without running a cell: the one definition of such a cell, and of a row.

Excel, LibreOffice and Google Sheets take text that begins with ``= + - @``, also full-width or after blanks,
for a formula: the first character that can be seen counts, in its compatibility form. Such a cell is written
with an apostrophe before it, which :func:`unguard` takes off again: any text comes back as it was.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .errors import UserError


def _runs(cell: str) -> bool:
    """Whether a spreadsheet may run the text, or would if the apostrophes before it were gone."""
    for character in cell.lstrip("'"):
        if character in "\t\r":
            return True
        if unicodedata.category(character)[0] not in "CZ":
            return unicodedata.normalize("NFKC", character)[0] in "=+-@"
    return False


def guard(cell: str) -> str:
    """The text as a cell that no spreadsheet runs."""
    return f"'{cell}" if _runs(cell) else cell


def unguard(cell: str) -> str:
    """The text that :func:`guard` was given."""
    return cell[1:] if cell[:1] == "'" and _runs(cell[1:]) else cell


def to_csv(header: Sequence[str], rows: Iterable[Sequence[str | int | float]]) -> str:
    """CSV with ``\\n`` between the rows; text is guarded, numbers are written as they are."""
    out = io.StringIO(newline="")
    plain = csv.writer(out, lineterminator="\n")
    # before Python 3.13 a lone \r is not quoted, and nobody can read it back
    quoted = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow([guard(name) for name in header])
    for row in rows:
        cells = [guard(cell) if isinstance(cell, str) else cell for cell in row]
        carriage = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (quoted if carriage else plain).writerow(cells)
    return out.getvalue()


def csv_rows(
    path: Path, lines: Iterable[str], delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV with the lines they begin in; the one way in which files of users are taken apart.

    An opened quote that nothing closes would swallow the rows behind it, so nothing is read past it. Empty
    lines are no rows.

    Args:
        lines: with their ends as they are (``newline=""``).

    Raises:
        UserError: no CSV, e.g. a quote that is not closed; no UTF-8.
    """
    csv.field_size_limit(2**31 - 1)  # a list of ten thousand classes is one cell
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    begins = 1
    try:
        for cells in reader:
            if cells:
                yield begins, cells
            begins = reader.line_num + 1
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file") from None
    except csv.Error as error:
        raise UserError(
            f"{path}: not a readable CSV file: the row from line {begins} on is damaged ({error}); perhaps a "
            "quote is not closed, or stands within a cell that is not quoted whole"
        ) from None


def csv_table(
    path: Path, lines: Iterable[str], delimiter: str = ",", *, fold: bool = False
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header of a CSV and its rows, all as long as the header, with the lines they begin in.

    Args:
        fold: the case of column names does not count; they come in small letters.

    Raises:
        UserError: as :func:`csv_rows`; a column that stands twice; a row with more or fewer cells.
    """
    rows = csv_rows(path, lines, delimiter)
    _, cells = next(rows, (1, []))
    header = [unguard(name.strip().lower() if fold else name.strip()) for name in cells]
    check_columns(path, header)
    return header, _whole(path, len(header), rows)


def check_columns(path: Path, header: Sequence[str]) -> None:
    """Refuse a table in which two columns have one name: only one of them would be read.

    Raises:
        UserError: it names the column.
    """
    twice = next((name for at, name in enumerate(header) if name and name in header[:at]), None)
    if twice is not None:
        raise UserError(f"{path}: the column {twice!r} stands twice: remove or rename one of them")


def _whole(
    path: Path, columns: int, rows: Iterable[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    for number, cells in rows:
        check_cells(path, number, len(cells), columns)
        yield number, cells


def from_csv(
    path: Path, what: str, delimiter: str = ","
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header of a CSV file, and its rows by column with the lines they begin in; no cell is lost.

    Args:
        what: the file is called in messages, e.g. ``class list``.

    Raises:
        UserError: no such file, no UTF-8, no CSV, a column that stands twice, or a row with more or fewer
            cells than the header.
    """
    if not path.is_file():
        raise UserError(f"{what} {path} does not exist")
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, rows = csv_table(path, file, delimiter)
        return header, [
            (number, dict(zip(header, map(unguard, cells), strict=True))) for number, cells in rows
        ]


def check_cells(path: Path, number: int, cells: int, columns: int) -> None:
    """Refuse a row with more or fewer cells than the header.

    Raises:
        UserError: it names the row, counted with the header.
    """
    if cells < columns:
        raise UserError(f"{path}: line {number} has {cells} of {columns} columns")
    if cells > columns:
        raise UserError(
            f"{path}: line {number} has {cells} cells for {columns} columns: put a name with a comma "
            "into double quotes"
        )
