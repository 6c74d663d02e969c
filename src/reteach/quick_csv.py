"""The columns of a large CSV at once, where nothing in it could be understood in two ways.

Arrow takes a CSV apart many times faster than Python does, and takes what Python's strict reader refuses: a
quote within a cell, a lone carriage return. So the bytes are looked at before, and whatever is not plain, or
not read by Arrow without a word, is left to the strict reader, which says what is wrong and in which line.
"""

from __future__ import annotations

import mmap
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
_QUOTED = re.compile(rb'(?:(?<=[,\n])|\A)"(?:[^"\r\n]|"")*"(?=[,\r\n]|\Z)')
"""A cell in quotes, whole and on one line."""


@dataclass(frozen=True)
class QuickColumns:
    """Columns of text, called by their numbers."""

    texts: TextColumn
    """The cells of the column whose cells are all different."""
    apostrophe: bool
    """Some of them begin with one."""
    coded: dict[int, tuple[NDArray[np.int64], list[str]]]
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
    text, code = pa.large_string(), pa.dictionary(pa.int32(), pa.string())
    types = {name: code if int(name) in coded else text for name in names}
    try:
        reader = csv.open_csv(
            path,
            csv.ReadOptions(column_names=names, skip_rows=1, block_size=2 << 20),
            csv.ParseOptions(newlines_in_values=False),
            csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
        return _gathered(reader, texts, coded)
    except (pa.ArrowException, OSError, ValueError):
        return None


def _gathered(reader: Iterable[Any], texts: int, coded: Sequence[int]) -> QuickColumns:
    """The columns of record batches."""
    import numpy as np
    import pyarrow as pa

    from .text_column import TextColumn

    cells: list[Any] = []
    apostrophe = False
    parts: dict[int, list[Any]] = {number: [] for number in coded}
    for batch in reader:
        cells.append(batch.column(str(texts)))
        starts, content = TextColumn(cells[-1]).letters()
        first = starts[:-1][starts[1:] > starts[:-1]]
        apostrophe |= bool((content[first] == ord("'")).any())
        for number in coded:
            parts[number].append(batch.column(str(number)))
    columns = {}
    for number in coded:
        column = pa.chunked_array(parts.pop(number), pa.dictionary(pa.int32(), pa.string()))
        whole = column.combine_chunks()  # of several chunks the dictionaries are made one
        whole = whole if isinstance(whole, pa.Array) else whole.chunk(0)
        codes = np.from_dlpack(whole.indices)  # to_numpy would load pandas
        columns[number] = codes.astype("int64"), whole.dictionary.to_pylist()
    return QuickColumns(TextColumn(pa.concat_arrays(cells)), apostrophe, columns)


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
