"""The columns of a large CSV at once, where nothing in it could be understood in two ways.

Arrow takes a CSV apart many times faster than Python does, and takes what Python's strict reader refuses: a
quote within a cell, a lone carriage return. So the bytes are looked at before, and whatever is not plain, or
not read by Arrow without a word, is left to the strict reader, which says what is wrong and in which line.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

WORTH = 1 << 20
"""Bytes from which on it is worth it."""
_QUOTED = re.compile(rb'(?:(?<=[,\n])|\A)"(?:[^"\r\n]|"")*"(?=[,\r\n]|\Z)')
"""A cell in quotes, whole and on one line."""


def quick_columns(path: Path, header: int, wanted: Sequence[int]) -> pa.Table | None:
    """Columns of text, called by their numbers; None: the strict reader has to look at it.

    Args:
        header: cells in the first line, which is left out.
        wanted: numbers of columns.
    """
    if path.stat().st_size < max(WORTH, 1) or not _plain(path):
        return None
    import pyarrow as pa
    from pyarrow import csv

    names = [str(number) for number in range(header)]
    try:
        table = csv.read_csv(
            path,
            csv.ReadOptions(column_names=names, skip_rows=1, block_size=8 << 20),
            csv.ParseOptions(newlines_in_values=False),
            csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),  # all, or bytes in them go unseen
                strings_can_be_null=False,
            ),
        )
        return table.select([str(number) for number in wanted])
    except (pa.ArrowException, OSError, ValueError):
        return None


def _plain(path: Path) -> bool:
    """Whether quotes and line ends mean the same to every reader."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first = 3 if data[:3] == b"\xef\xbb\xbf" else 0
        if data[first : first + 1] in b"\r\n" or data.find(b"\0") >= 0:
            return False
        if data.find(b"\r") >= 0 and _count(data, rb"\r") != _count(data, rb"\r\n"):
            return False
        if data.find(b'"') < 0:
            return True
        return b'"' not in _QUOTED.sub(b"", data)


def _count(data: mmap.mmap, what: bytes) -> int:
    return sum(1 for _ in re.finditer(what, data))
