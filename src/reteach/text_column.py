"""Very many texts in one Arrow array: a few bytes each beside their letters, and shared between processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, final, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 14
"""Texts that iterating makes Python strings of at once."""
_BYTES = 1 << 18
"""Most bytes of a block that are hashed at once."""
_BASE = 0x9E3779B97F4A7C15
_MANY = 1 << 18
"""Texts from which on Arrow's comparisons are worth loading (0.03 s)."""


@final
class TextColumn(Sequence[str]):
    """N texts as a sequence.

    Args:
        array: of strings, large strings, or a dictionary of them; without nulls.
    """

    __slots__ = ("array",)

    def __init__(self, array: pa.Array) -> None:
        self.array = array

    @classmethod
    def of(cls, texts: Iterable[str]) -> TextColumn:
        """Texts out of memory."""
        import pyarrow as pa

        return cls(pa.array(list(texts), pa.large_string()))

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> TextColumn: ...
    def __getitem__(self, at: int | slice) -> str | TextColumn:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step == 1:
                return TextColumn(self.array.slice(start, max(0, stop - start)))
            return self.take(np.arange(start, stop, step))
        text: str = self.array[at].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BLOCK):
            yield from self.array.slice(start, _BLOCK).to_pylist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TextColumn):
            return bool(self.array.equals(other.array)) or list(self) == list(other)
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        first = ", ".join(map(repr, self[:3]))
        return f"<{len(self):,} texts: {first}{', …' if len(self) > 3 else ''}>"

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        """What ``pa.array`` makes of it."""
        return self.array if type is None else self.array.cast(type)

    def take(self, rows: NDArray[Any]) -> TextColumn:
        """The texts at ``rows``."""
        import pyarrow as pa

        return TextColumn(self.array.take(pa.array(rows)))

    def distinct(self) -> list[str]:
        """The different texts, in the order in which they come first."""
        found: list[str] = self.array.unique().to_pylist()
        return found

    def rows_of(self, texts: Iterable[str]) -> NDArray[np.int64]:
        """(M,) where each of M texts stands; -1: nowhere. Each text stands once.

        What is held beside the columns is of the size of the shorter one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        asked = (
            texts.array
            if isinstance(texts, TextColumn)
            else pa.array(list(texts), pa.large_string())
        )
        if len(asked) >= len(self) or pa.types.is_dictionary(self.array.type):
            found = pc.index_in(asked, value_set=self.array).fill_null(-1)
            return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)
        coded = asked.cast(self.array.type).dictionary_encode()
        row = np.full(len(coded.dictionary), -1, np.int64)
        size = max(_BLOCK, len(coded.dictionary))  # what is asked for is put into a table each time
        for start in range(0, len(self), size):
            block = self.array.slice(start, size)
            at = pc.index_in(block, value_set=coded.dictionary)
            here = np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
            row[at.drop_null().to_numpy()] = start + here
        return np.asarray(row[coded.indices.to_numpy()])

    def ascending(self) -> bool:
        """Whether each text comes after the one before it, by code points."""
        first = list(self[:16])
        if any(a >= b for a, b in pairwise(first)):
            return False
        import pyarrow.compute as pc

        for start in range(0, len(self) - 1, _BLOCK):
            block = self.array.slice(start, _BLOCK + 1)
            if not pc.all(pc.less(block.slice(0, len(block) - 1), block.slice(1))).as_py():
                return False
        return True

    def surely_different(self) -> bool:
        """Whether no text is empty or stands twice, where that can be told without a set of all texts; False:
        some are alike, or so it seems."""
        starts, content = self.letters()
        if (starts[1:] == starts[:-1]).any():
            return False
        if len(self) > _MANY and self.ascending():
            return True
        hashes = _hashes(starts, content)
        if hashes is None:
            return False
        hashes.sort()
        return not bool((hashes[1:] == hashes[:-1]).any())

    def letters(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """(N + 1,) where each text starts in all their bytes, and these.

        Read where they lie: what pyarrow calls ``to_numpy`` loads pandas, where that is installed.
        """
        import pyarrow as pa

        array = self.array
        if not pa.types.is_large_string(array.type):
            array = array.cast(pa.large_string())
        _, starts, content = array.buffers()
        if not len(array):
            return np.zeros(1, np.int64), np.zeros(0, np.uint8)
        return (
            np.frombuffer(starts, np.int64, len(array) + 1, 8 * array.offset),
            np.frombuffer(b"" if content is None else content, np.uint8),
        )


def _hashes(starts: NDArray[np.int64], content: NDArray[np.uint8]) -> NDArray[np.uint64] | None:
    """(N,) a hash of each of N texts, none of which is empty; None: one is longer than a block.

    The bytes are the digits of a number to an odd base, modulo 2^64: a few operations on whole blocks. Who
    looks for texts of one hash finds some; they are compared then.
    """
    powers = np.cumprod(np.full(_BYTES, _BASE, np.uint64))
    inverse = np.cumprod(np.full(_BYTES, pow(_BASE, -1, 1 << 64), np.uint64))
    out = np.empty(len(starts) - 1, np.uint64)
    at = 0
    while at < len(out):
        end = int(np.searchsorted(starts, starts[at] + _BYTES, "right")) - 1
        if end <= at:
            return None
        here = starts[at:end] - starts[at]
        digits = content[starts[at] : starts[end]] * powers[: starts[end] - starts[at]]
        out[at:end] = np.add.reduceat(digits, here) * inverse[here]
        at = end
    return out
