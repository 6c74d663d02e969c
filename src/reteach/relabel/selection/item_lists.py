"""Lists of items, as exclude lists are: ``.txt`` (one per line), or the column ``item`` of a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from ...errors import UserError
from ...files import atomic_path, atomic_write
from ...parquet import CHECKED, read_columns, read_schema
from ...spreadsheet import check_columns, from_csv, to_csv


@final
@dataclass(frozen=True)
class Exclusions:
    """Items that are never to be picked, list by list.

    Args:
        lists: what a list is called in messages -> its items.
    """

    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def items(self) -> list[str]:
        """The different items of all lists, in order."""
        return list(dict.fromkeys(item for items in self.lists.values() for item in items))

    def found(
        self, there: Collection[str], what: str, example: str | None, *, part: bool = False
    ) -> list[str]:
        """How many items of each list are there, in words.

        Args:
            there: the items of the lists that are (others may be among them).
            what: where they are looked for, e.g. ``the scores``.
            example: an item as it is called there.
            part: only some of the items are there; a list without any may name others.

        Raises:
            UserError: a list that is not empty has no item that is there: it names items of something
                else, or otherwise, and excludes nothing. The lists together are empty.
        """
        if self.lists and not self.items:
            raise UserError(
                f"{', '.join(self.lists)}: lists no items and excludes nothing: leave --exclude out, or name "
                "another list"
            )
        lines = []
        for name, items in self.lists.items():
            listed = set(items)
            known = len(listed.intersection(there))
            like = "" if example is None else f"; items there are called like {example!r}"
            if listed and not known and part:
                lines.append(
                    f"{name}: none of its {len(listed):,} items is in this part, first: {items[0]!r}{like}: "
                    "right only if all of them are in other parts"
                )
                continue
            if listed and not known:
                raise UserError(
                    f"{name}: none of its {len(listed):,} items is in {what}, first: {items[0]!r}"
                    f"{like}; make the list and the scores from the same --images, or leave it out"
                )
            lines.append(f"{name}: {known:,} of its {len(listed):,} items are in {what}")
        return lines


def read_exclusions(paths: Sequence[Path]) -> Exclusions:
    """The lists in these files; see :func:`read_items`."""
    return Exclusions({str(path): read_items(path) for path in paths})


def read_items(path: Path) -> list[str]:
    """The items that a ``.txt``, ``.csv`` or ``.parquet`` file lists, in its order.

    Raises:
        UserError: no such file, another ending, no column ``item``, or not readable as what it is.
    """
    if not path.is_file():
        raise UserError(f"item list {path} does not exist")
    ending = path.suffix.lower()
    if ending == ".parquet":
        return _parquet(path)
    if ending == ".csv":
        header, rows = from_csv(path, "item list")
        if "item" not in header:
            raise UserError(f"{path}: no column 'item' (found: {', '.join(header)})")
        return [row["item"] for _, row in rows]
    if ending != ".txt":
        raise UserError(f"{path}: an item list is a .txt, .csv or .parquet file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file") from None
    return [line for line in text.split("\n") if line]


def write_items(path: Path, items: Sequence[str]) -> None:
    """Write a ``.txt``, ``.csv`` or ``.parquet`` list; a spreadsheet runs no cell of the CSV.

    Raises:
        UserError: another ending, or an item with a line break in a ``.txt``.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        with atomic_path(path) as part:
            pq.write_table(pa.table({"item": pa.array(list(items), pa.string())}), part, **CHECKED)
    elif ending == ".csv":
        atomic_write(path, to_csv(["item"], ([item] for item in items)))
    elif ending == ".txt":
        broken = next((item for item in items if "\n" in item), None)
        if broken is not None:
            raise UserError(f"{path}: item {broken!r} has a line break: write a .parquet list")
        atomic_write(path, "".join(f"{item}\n" for item in items))
    else:
        raise UserError(f"{path}: an item list is a .txt, .csv or .parquet file")


def _parquet(path: Path) -> list[str]:
    names = read_schema(path).names
    if "item" not in names:
        raise UserError(f"{path}: no column 'item' (found: {', '.join(names)})")
    check_columns(path, names)
    items = read_columns(path, ["item"])["item"].to_pylist()
    return [str(item) for item in items if item is not None]
