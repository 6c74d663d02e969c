"""cleanlab's columns as a CSV: ``item``, ``given_label``, and of its findings ``is_label_issue`` and more.

``Datalab.get_issues("label")`` and ``CleanLearning.get_label_issues()`` give the findings, row by row in the
order of the data; with the items as a column they come back::

    found.insert(0, "item", items)
    found.to_csv("issues.csv", index=False)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UserError
from ...files import atomic_write
from ...scores.classes import read_classes
from ...spreadsheet import from_csv, to_csv
from ...tables import LabelTable
from .sets import labels_of

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions

_TRUE, _FALSE = ("true", "1"), ("false", "0")


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """The labels of ``--label-column`` (``given_label``); with ``--drop-issues`` flagged ones are unlabelled.

    Labels that are all whole numbers are places in the list of ``--classes``, as cleanlab counts; without it
    they are names.

    Raises:
        UserError: a missing column or item, a flag that is neither true nor false.
    """
    header, rows = from_csv(source, "cleanlab's table")
    column = options.label_column or "given_label"
    flag = ("is_label_issue",) if options.drop_issues else ()
    for name in ("item", column, *flag):
        if name not in header:
            hint = "; put the items beside its findings: found.insert(0, 'item', items)"
            found = ", ".join(header) or "none"
            raise UserError(
                f"{source}: no column {name!r} (found: {found}){hint if name == 'item' else ''}"
            )
    names = _named([cells[column] for _, cells in rows], options.classes)
    flagged = [
        bool(flag) and _is_true(cells["is_label_issue"], source, number) for number, cells in rows
    ]
    said = [None if drop or not name else [name] for name, drop in zip(names, flagged, strict=True)]
    items = [cells["item"] for _, cells in rows]
    return labels_of(items, said, None, False, f"cleanlab: {source.name}", str(source))


def _named(labels: list[str], classes: Path | None) -> list[str]:
    if classes is None or not all(label.isdecimal() for label in labels if label):
        return labels
    known = read_classes(classes)
    if set(labels) - {""} <= set(known):
        return labels
    odd = next((label for label in labels if label and int(label) >= len(known)), None)
    if odd is not None:
        raise UserError(f"{classes}: label {odd} of {len(known)} classes")
    return [known[int(label)] if label else "" for label in labels]


def _is_true(cell: str, source: Path, number: int) -> bool:
    if cell.lower() not in _TRUE + _FALSE:
        raise UserError(
            f"{source} line {number}: is_label_issue is {cell[:40]!r}, not true or false"
        )
    return cell.lower() in _TRUE


def write(table: LabelTable, out: Path, options: ConvertOptions) -> tuple[str, ...]:
    """``item``, ``given_label`` and ``label``, its place in the class list.

    Raises:
        UserError: not a .csv.
    """
    if out.suffix.lower() != ".csv":
        raise UserError(f"{out}: cleanlab's columns are written as .csv")
    _, columns, _ = table.labels.pairs()
    cells = (
        (item, table.labels.classes[column], column)
        for item, column in zip(table.items, columns.tolist(), strict=True)
    )
    atomic_write(out, to_csv(("item", "given_label", "label"), cells))
    return ()
