"""Which classes the shards of a table have, checked against the class list before any row is ranked."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import UserError
from ...scores.columns import one_line
from .database import Database
from .score_shards import Shard, Shards, Skipped

_READ = "from read_parquet($files, hive_partitioning = false)"


def find_classes(
    db: Database, table: Shards, given: Sequence[str] | None
) -> tuple[tuple[str, ...], Shards]:
    """The class list (the table's own, else ``given``, else the classes that occur), and the table
    without the shards that turned out to be unreadable.

    Class indices are known from the shards' footers. Names are read: indices are the faster format.

    Raises:
        UserError: a shard has a class that is not in the list, ``given`` is another list than the
            table's, or there are no classes at all.
    """
    listed = table.layout.classes
    if listed is None:
        listed = None if given is None else tuple(given)
    elif given is not None and tuple(given) != listed:
        raise UserError("the given class list is not the one in the score table's metadata")
    named = table.layout.classes_are != "indices"
    found: set[str] = set()
    highest = -1
    for shard in table.shards:
        try:
            if named:
                found |= _names(db, table, shard, listed)
            else:
                highest = max(highest, _highest(db, shard, listed))
        except db.error as error:
            table = table.without(Skipped(shard.file, one_line(error)))
    if listed is None:
        listed = tuple(sorted(found)) if named else tuple(map(str, range(highest + 1)))
    if not listed:
        raise UserError(f"{table.path} has no rows")
    return listed, table


def _names(db: Database, table: Shards, shard: Shard, listed: Sequence[str] | None) -> set[str]:
    column = "unnest(labels)" if table.layout.classes_are == "lists" else "class"
    names = {str(row[0]) for row in db.run(f"select distinct {column} {_READ}", [shard.file])}
    odd = names.difference(names if listed is None else listed)
    if odd:
        raise UserError(f"{shard.file}: class {min(odd)!r} is not in the class list")
    return names


def _highest(db: Database, shard: Shard, listed: Sequence[str] | None) -> int:
    span = shard.span
    if span is None:  # no statistics in the footer
        ((low, high),) = db.run(f"select min(class), max(class) {_READ}", [shard.file])
        span = (0, -1) if low is None else (int(low), int(high))
    low, high = span
    if low < 0 or (listed is not None and high >= len(listed)):
        size = "" if listed is None else f", the class list has {len(listed)} names"
        raise UserError(f"{shard.file}: class indices run from {low} to {high}{size}")
    return high
