"""The one class list that several score tables and the labels are about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..item_index import first_repeated
from ..spreadsheet import from_csv
from .table import ScoreTable


def common_classes(
    tables: Sequence[ScoreTable],
    labels: Sequence[str],
    given: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """The class list for all tables, which may list the same classes in different orders.

    It is ``given``, or else the first table's own list. Where no table has a list: the labels'
    names if the tables name their classes too, or ``"0"``, ``"1"`` … if the tables have indices and
    all labels are whole numbers.

    Args:
        labels: the class names that occur in the labels.
        given: a list from the user.

    Raises:
        UserError: two tables have different classes, a label is in no list, nothing names classes.
    """
    listed = [(table.path, table.classes) for table in tables if table.classes is not None]
    if given is not None:
        listed.insert(0, (Path("the given class list"), tuple(given)))
    if not listed:
        return _unlisted(tables, labels)
    where, classes = listed[0]
    for path, other in listed[1:]:
        if set(other) != set(classes):
            odd = min(set(other) ^ set(classes))
            has, lacks = (path, where) if odd in other else (where, path)
            raise UserError(
                f"scores of unequal classes: {has} has {odd!r}, {lacks} has not "
                f"({len(classes)} and {len(other)} classes)"
            )
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise UserError(
            f"{len(unknown)} classes of the labels are not among those of {where}, "
            f"first: {unknown[0]!r}"
        )
    return classes


def read_classes(path: Path) -> tuple[str, ...]:
    """A class list: one name per line, in order; of a table (.tsv, .csv), the column ``wnid``,
    ``class`` or ``name``."""
    if not path.is_file():
        raise UserError(f"class list {path} does not exist")
    if path.suffix.lower() in (".tsv", ".csv"):
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        header, rows = from_csv(path, "class list", delimiter)
        column = next((c for c in ("wnid", "class", "name") if c in header), None)
        if column is None:
            raise UserError(f"{path}: no column 'wnid', 'class' or 'name'")
        lines = [row[column] for _, row in rows]
    else:
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except UnicodeDecodeError:
            raise UserError(f"{path}: not a UTF-8 text file") from None
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(f"{path}: the class list is empty")
    if (twice := first_repeated(names)) is not None:
        raise UserError(f"{path}: class {twice!r} is listed twice")
    return tuple(names)


def _unlisted(tables: Sequence[ScoreTable], labels: Sequence[str]) -> tuple[str, ...]:
    first = tables[0].path
    if all(table.named for table in tables):
        return tuple(labels)
    numbers = all(name.isascii() and name.isdigit() for name in labels)
    highest = [table.highest_class() for table in tables if not table.named]
    if not numbers or None in highest or any(table.named for table in tables):
        raise UserError(f"{first} has no class list in its metadata: name one (--classes)")
    return tuple(str(i) for i in range(1 + max(*map(int, labels), *(h or 0 for h in highest), 0)))
