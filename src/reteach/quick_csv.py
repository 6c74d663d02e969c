"""The columns of a large CSV at once, where nothing in it could be understood in two ways.

Arrow takes a CSV apart many times faster than Python does, and takes what Python's strict reader refuses: a
quote within a cell, a lone carriage return. So the bytes are looked at before, and whatever is not plain, or
not read by Arrow without a word, is left to the strict reader, which says what is wrong and in which line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .text_column import TextColumn

WORTH = 1 << 20
"""Bytes from which on it is worth it."""
_BLOCK = 2 << 20
"""Bytes that are read at once: what is made of them stays in the processor's cache."""
_LOOK = 1 << 17
"""Bytes, and the rest of their last line, that are looked at at once before."""
_QUOTED = re.compile(rb'(?:(?<=[,\n])|\A)"(?:[^"\r\n]|"")*"(?=[,\r\n]|\Z)')
"""A cell in quotes, whole and on one line."""


@dataclass(frozen=True)
class QuickColumns:
    """Columns of text, called by their numbers."""

    texts: TextColumn
    """The cells of the column whose cells are all different."""
    apostrophe: bool
    """Some of them may begin with one."""
    coded: dict[int, tuple[NDArray[np.int32], list[str]]]
    """Of each other one: (N,) index into its different cells, and these."""


def quick_columns(path: Path, header: int, texts: int, coded: Sequence[int]) -> QuickColumns | None:
    """The columns of a table, block by block; None: the strict reader has to look at it.

    What stays is Arrow's text for each cell of one column, and a number for each cell of the others.

    Args:
        header: cells in the first line, which is left out.
        texts: number of the column whose cells are all different.
        coded: numbers of the others that are wanted.
    """
    if path.stat().st_size < max(WORTH, 1) or not _plain(path):
        return None
    import pyarrow as pa
    from pyarrow import csv

    names = [str(number) for number in range(header)]
    # all columns, or bytes in them go unseen
    text, code = pa.string(), pa.dictionary(pa.int32(), pa.string())
    types = {name: code if int(name) in coded else text for name in names}
    try:
        reader = csv.open_csv(
            path,
            csv.ReadOptions(column_names=names, skip_rows=1, block_size=_BLOCK),
            csv.ParseOptions(newlines_in_values=False),
            csv.ConvertOptions(column_types=types, strings_can_be_null=False),
            pa.system_memory_pool(),
        )
        return _gathered(reader, path.stat().st_size, texts, coded)
    except (pa.ArrowException, OSError, ValueError):
        return None


def _gathered(
    reader: Iterable[Any], size: int, texts: int, coded: Sequence[int]
) -> QuickColumns | None:
    """The columns of record batches out of ``size`` bytes; None: there is no row.

    Each block is copied out and given back at once: memory that is asked for anew costs more than reading it.
    """
    import numpy as np
    import pyarrow as pa

    from .paged import Growing
    from .text_column import TextColumn

    letters, ends = Growing(size, np.uint8), Growing(1, np.int64)
    ends.add(np.zeros(1, np.int64))
    apostrophe = False
    known: dict[int, dict[str, int]] = {number: {} for number in coded}
    codes = {number: Growing(0, np.int32) for number in coded}
    for batch in filter(len, reader):
        column = batch.column(str(texts))
        _, starts, content = (np.frombuffer(part or b"", np.uint8) for part in column.buffers())
        starts = starts.view(np.int32)[column.offset :][: len(column) + 1].astype(np.int64)
        first = content[
            starts[: np.searchsorted(starts, starts[-1])]
        ]  # of an empty cell the next one's
        apostrophe |= bool((first == ord("'")).any())
        more = 1 + size // _BLOCK  # batches as large as this one
        ends.add(starts[1:] + (len(letters) - starts[0]), more)
        letters.add(content[starts[0] : starts[-1]])
        for number, cells in known.items():
            column = batch.column(str(number))
            names = column.dictionary.to_pylist()
            here = list(map(cells.get, names))
            if None in here:
                here = [cells.setdefault(name, len(cells)) for name in names]
            indices = np.from_dlpack(column.indices)  # to_numpy would load pandas
            codes[number].add(np.array(here, np.int32)[indices], more)
    rows = len(ends) - 1
    if not rows:
        return None
    buffers = [None, pa.py_buffer(ends.filled), pa.py_buffer(letters.filled)]
    column = pa.Array.from_buffers(pa.large_string(), rows, buffers)
    found = {number: (codes[number].filled, list(cells)) for number, cells in known.items()}
    return QuickColumns(TextColumn(column), apostrophe, found)


def _plain(path: Path) -> bool:
    """Whether quotes and line ends mean the same to every reader.

    Read, not mapped: of a mapped file that becomes shorter meanwhile the process would die.
    """
    with path.open("rb") as file:
        first = True
        while block := file.read(_LOOK):
            end = b"" if block.endswith(b"\n") else file.readline(_BLOCK)
            if len(end) == _BLOCK:  # a line without an end
                return False
            if not _plain_lines(block + end if end else block, first):
                return False
            first = False
    return True


def _plain_lines(lines: bytes, first: bool) -> bool:
    """The same of some whole lines, which are the first of the file or others."""
    start = 3 if first and lines.startswith(b"\xef\xbb\xbf") else 0
    if first and lines[start : start + 1] in b"\r\n":
        return False
    if b"\0" in lines:
        return False
    if b"\r" in lines and lines.count(b"\r") != lines.count(b"\r\n"):
        return False
    return b'"' not in lines or b'"' not in _QUOTED.sub(b"", lines)
