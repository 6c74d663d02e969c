"""What comes out of a review: a label table, the list of changes, and the next training.

The label table is one that every part of reteach reads, with two columns more: ``source`` says of each item
who decided, when and how, or that the label is the given one; ``original`` is what was given. Items that
nobody can tell are *unknown* there: of single labels an empty cell, of label sets every class. Unusable ones
are left out. Nothing touches the images.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import final

import numpy as np

from ..errors import UserError
from ..files import atomic_write
from ..labels import Multi, Rows, Single
from ..spreadsheet import to_csv
from ..tables import LabelTable, check_suffix, write_labels
from .decisions import CHANGED, NAMING, OPEN, STATUSES, UNCLEAR, UNUSABLE, Decisions
from .prepared import Prepared

GIVEN = "given"
"""The source of a label that nobody has looked at."""


@final
@dataclass(frozen=True)
class ReviewExport:
    """What was written.

    Args:
        labels: the label table.
        changes: the list of all decisions that stand, the newest verdict on each item.
        changed: items whose labels are others now.
        unclear: items that are unknown in the table.
        left_out: unusable items, which are not in it.
        train: the next ``reteach train``, as one line.
    """

    labels: Path
    changes: Path
    changed: int
    unclear: int
    left_out: int
    train: str


def write_export(out: Path, prepared: Prepared, decisions: Decisions) -> ReviewExport:
    """Write the table and the changes, each whole or not at all.

    Raises:
        UserError: neither a folder nor a label table, or it cannot be written.
    """
    table, changes = _places(out)
    rows = np.flatnonzero(decisions.status != UNUSABLE)
    if not len(rows):
        raise UserError("every item is unusable: no label is left to write")
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        _write_table(table, prepared, decisions, rows)
        header = [
            "item",
            "given",
            "labels",
            "status",
            "verdict",
            "class",
            "reviewer",
            "time",
            "others",
        ]
        atomic_write(changes, to_csv(header, _changes(prepared, decisions)))
    except OSError as error:
        raise UserError(f"cannot write {table.parent}: {error.strerror or error}") from None
    number = np.bincount(decisions.status, minlength=len(STATUSES)).tolist()
    train = train_line(prepared, table)
    return ReviewExport(table, changes, number[CHANGED], number[UNCLEAR], number[UNUSABLE], train)


def _places(out: Path) -> tuple[Path, Path]:
    if out.suffix == "" or out.is_dir():
        return out / "labels.parquet", out / "changes.csv"
    check_suffix(out)
    return out, out.with_suffix(".changes.csv")


def train_line(prepared: Prepared, table: Path) -> str:
    """``reteach train`` on the exported labels."""
    record = prepared.record
    usual = ("softmax",) if record.kind == "single" else ("asl",)
    method, *more = record.train or usual
    images = record.images or "IMAGES"
    words = ["reteach", "train", method, "--images", images, "--labels", str(table), *more]
    return shlex.join(words)


def source_of(decisions: Decisions, row: int) -> str:
    """Who decided on an item, when and how."""
    ids = decisions.on.get(row)
    if not ids:
        return GIVEN
    actions = [decisions.actions[i] for i in ids]
    said = (
        f"{a.reviewer} {_time(a.at)} {a.kind}{f' {a.label}' if a.kind in NAMING else ''}"
        for a in actions
    )
    return "review: " + "; ".join(said)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _changes(prepared: Prepared, decisions: Decisions) -> Iterator[Sequence[str]]:
    classes = prepared.record.classes

    def cell(labels: Sequence[int]) -> str:
        names = [classes[c] for c in labels]
        plain = all("|" not in n and ";" not in n and not n.startswith("[") for n in names)
        return "|".join(names) if plain else json.dumps(names, ensure_ascii=False)

    for row in np.flatnonzero(decisions.status != OPEN).tolist():
        action = decisions.verdict_on(row)
        assert action is not None
        others = {decisions.actions[i].reviewer for i in decisions.on[row]} - {action.reviewer}
        yield (
            prepared.name(row),
            cell(prepared.given.set_of(row)),
            cell(decisions.set_of(row)),
            STATUSES[decisions.status[row]],
            action.kind,
            action.label or "",
            action.reviewer,
            _time(action.at),
            ", ".join(sorted(others)),
        )


def _write_table(path: Path, prepared: Prepared, decisions: Decisions, rows: Rows) -> None:
    classes, names = prepared.record.classes, prepared.names.to_pylist()
    sources = [source_of(decisions, row) for row in rows.tolist()]
    given = [[classes[c] for c in prepared.given.set_of(row)] for row in rows.tolist()]
    table = LabelTable(
        tuple(names[row] for row in rows.tolist()), _labels(prepared, decisions).take(rows)
    )
    write_labels(path, table, sources=sources, originals=given)


def _labels(prepared: Prepared, decisions: Decisions) -> Single | Multi:
    """The labels of all items, unknown where nobody can tell."""
    now, unclear, classes = (
        decisions.current(),
        decisions.status == UNCLEAR,
        prepared.record.classes,
    )
    if prepared.record.kind == "single":
        return Single(np.where(unclear, -1, now.first), classes)
    keep = ~unclear[now.rows]
    known = Multi.from_pairs(now.rows[keep], now.columns[keep], len(now), classes)
    return known.with_unknown(_unknown(prepared, decisions))


def _unknown(prepared: Prepared, decisions: Decisions) -> Multi | None:
    """What is unknown of label sets: all of unclear items, and what was before and nobody decided; a right
    set, or one that was named, leaves nothing open."""
    before, classes = prepared.unknown, prepared.record.classes
    rows: list[int] = []
    columns: list[int] = []
    for row in np.flatnonzero(decisions.status != OPEN).tolist():
        left = set() if before is None else set(before.set_of(row))
        for action in (decisions.actions[i] for i in decisions.on[row]):
            if action.kind in ("right", "is"):
                left = set()
            elif action.kind in NAMING:
                left.discard(decisions.class_of[str(action.label)])
        if decisions.status[row] == UNCLEAR:
            left = set(range(len(classes)))
        rows += [row] * len(left)
        columns += sorted(left)
    at, which = np.array(rows, np.int64), np.array(columns, np.int64)
    if before is not None:
        keep = decisions.status[before.rows] == OPEN
        at = np.concatenate([at, before.rows[keep]])
        which = np.concatenate([which, before.columns[keep]])
    return Multi.from_pairs(at, which, len(prepared.given), classes) if len(at) else None
