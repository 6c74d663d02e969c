"""A search for near pictures that was divided, put together again: the same pairs as those of the whole.

Each table of pairs says in its schema what it is of (:class:`PartOf`). A pile may be divided by its shards,
each compared with all of the other set; and a search by its queries (``--part 2/8``), each compared with all
of the pile. Of an image of the other set the k nearest of the whole are among the k nearest of the parts; and
a pair that is among the first so many of the whole is among the first so many of its part, because what
stands before it there is no more. So nothing is lost by what the parts leave out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, final

import numpy as np

from ..errors import UserError
from ..item_index import rows_among
from ..labels import Rows
from ..parquet import read_columns
from ..structured import parse_json
from .pairs import Pairs

KEY = "reteach.dedup"


@final
@dataclass(frozen=True)
class PartOf:
    """What a table of pairs is of.

    Args:
        images: how many there are to be cleaned, and
        first, last: what the first and the last of them are called.
        against: how many they were compared with; None: with each other.
        part, parts: which part of the queries; 1 of 1 is all.
        neighbours: k.
        pairs: at most so many near ones are in it; None: only equal files were looked for.
        what: what was compared, the same for all parts; ``how`` says it in words.
        copies: the distance up to which such images are copies; None: nobody knows.
        recall: of the search.
    """

    images: int
    first: str
    last: str
    against: int | None
    part: int
    parts: int
    neighbours: int
    pairs: int | None
    what: str
    how: str
    copies: float | None
    recall: float

    def metadata(self) -> dict[str, str]:
        """As the schema of a table has it."""
        return {KEY: json.dumps(asdict(self))}


def slice_of(part: str | None, count: int) -> tuple[int, int, slice]:
    """``2/8`` -> (2, 8, the second of eight nearly equal slices of ``count``); None is 1/1."""
    number, of = (1, 1) if part is None else map(int, part.split("/"))
    return number, of, slice((number - 1) * count // of, number * count // of)


def merged(
    files: Sequence[Path], items: Sequence[str], against: Sequence[str] | None, most: int
) -> tuple[Pairs, PartOf]:
    """The pairs of the whole, and what it is of, its recall that of the worst part.

    Args:
        items: of all images to be cleaned.
        against: of what they were compared with; None: with each other.
        most: keep only the so many nearest pairs that are not equal files.

    Raises:
        UserError: the tables are not parts of one search among these images, or not all of them.
    """
    tables = [_read(file) for file in files]
    whole = _whole(files, [about for _, about in tables], items, against, most)
    there = items if against is None else against
    found = [
        Pairs(
            _rows(file, columns["item"].to_pylist(), items),
            _rows(file, columns["against"].to_pylist(), there),
            columns["distance"].to_numpy(zero_copy_only=False),
            columns["same_bytes"].to_numpy(zero_copy_only=False),
        )
        for file, (columns, _) in zip(files, tables, strict=True)
    ]
    both = Pairs(
        np.concatenate([one.row for one in found]),
        np.concatenate([one.against for one in found]),
        np.concatenate([one.distance for one in found]).astype(np.float32),
        np.concatenate([one.same_bytes for one in found]).astype(np.bool_),
    )
    both = both.take(np.lexsort((both.against, both.row, ~both.same_bytes, both.distance)))
    _, first = np.unique(both.row << 32 | both.against, return_index=True)  # each pair once
    both = both.take(np.sort(first))
    near = ~both.same_bytes
    if against is not None:
        near &= _rank(both.against) < whole.neighbours
    chosen = both.same_bytes.copy()
    chosen[np.flatnonzero(near)[:most]] = True
    return both.take(chosen), whole


def _rank(group: Rows) -> Rows:
    """(M,) how many of the same group stand before each."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], group[order])
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - starts
    return rank


def _read(file: Path) -> tuple[dict[str, Any], PartOf]:
    names = ["item", "against", "distance", "same_bytes"]
    table = read_columns(file, names, "not a table of pairs")
    said = (table.schema.metadata or {}).get(KEY.encode())
    if said is None:
        raise UserError(
            f"{file} does not say what it is of: make it with reteach dedup of this version"
        )
    try:
        about = PartOf(**parse_json(said))
    except (TypeError, ValueError):
        raise UserError(f"{file}: what it says of itself is damaged: make it again") from None
    return {name: table[name].combine_chunks() for name in names}, about


def _whole(
    files: Sequence[Path],
    parts: Sequence[PartOf],
    items: Sequence[str],
    against: Sequence[str] | None,
    most: int,
) -> PartOf:
    """What the whole is of."""
    one = parts[0]
    count = None if against is None else len(against)
    seen: dict[tuple[object, ...], Path] = {}
    for file, part in zip(files, parts, strict=True):
        for name in ("neighbours", "what"):
            if getattr(part, name) != getattr(one, name):
                raise UserError(
                    f"{file} is of another search than {files[0]}: {name} {getattr(part, name)}, there "
                    f"{getattr(one, name)}"
                )
        if part.against != count or (count is None and part.images != len(items)):
            raise UserError(
                f"{file} is of {part.images:,} images against {_many(part.against)}, and these are "
                f"{len(items):,} against {_many(count)}"
            )
        if part.pairs is not None and part.pairs < most:
            raise UserError(f"{file} was made with --pairs {part.pairs}: --pairs {most} needs more")
        key = part.images, part.first, part.last, part.part, part.parts
        if key in seen:
            raise UserError(f"{file} is of the same part as {seen[key]}")
        seen[key] = file
    covered = sum(Fraction(part.images, part.parts) for part in parts)
    if covered != len(items):
        raise UserError(
            f"the {len(parts)} tables cover {float(covered / max(1, len(items))):.1%} of the "
            f"{len(items):,} images: name those of all parts"
        )
    return PartOf(
        len(items),
        items[0],
        items[-1],
        count,
        1,
        1,
        one.neighbours,
        None if one.pairs is None else most,
        one.what,
        one.how,
        one.copies,
        min(part.recall for part in parts),
    )


def _many(against: int | None) -> str:
    return "each other" if against is None else f"{against:,}"


def _rows(file: Path, names: Sequence[str], among: Sequence[str]) -> Rows:
    rows = rows_among(names, among)
    if (rows < 0).any():
        odd = names[int(np.flatnonzero(rows < 0)[0])]
        raise UserError(f"{file}: {odd!r} is not among these images")
    return rows
