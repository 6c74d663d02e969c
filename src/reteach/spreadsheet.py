"""CSV that a spreadsheet opens without running a cell: the one definition of such a cell.

Excel, LibreOffice and Google Sheets take text that begins with ``= + - @``, also full-width or after blanks,
for a formula. Such a cell is written with an apostrophe before it, which :func:`unguard` takes off again:
any text comes back as it was.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

_FORMULA = re.compile("'*[\\s\u200b\ufeff]*[=+\\-@\t\r＝＋－＠]")


def guard(cell: str) -> str:
    """The text as a cell that no spreadsheet runs."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguard(cell: str) -> str:
    """The text that :func:`guard` was given."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell[1:]) else cell


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
