"""crowd-kit's answers (``task, worker, label``) as labels: one each, or the shares of the answers.

The consensus that weighs raters by how well they do is ``reteach relabel consensus``, which reads this file
too.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from ...files import atomic_write
from ...labels import Soft
from ...spreadsheet import from_csv, to_csv
from ...tables import LabelTable
from .sets import labels_of

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """One label per task where each has one answer; else soft labels, the share of each answer.

    Raises:
        UserError: a missing column or cell, a worker who answers a task twice.
    """
    header, rows = from_csv(source, "answers")
    for name in ("task", "worker", "label"):
        if name not in header:
            raise UserError(f"{source}: no column {name!r} (found: {', '.join(header) or 'none'})")
    said: dict[str, dict[str, str]] = {}
    for number, cells in rows:
        task, worker, label = (cells[name] for name in ("task", "worker", "label"))
        if not (task and worker and label):
            raise UserError(f"{source} line {number}: an empty cell")
        if said.setdefault(task, {}).setdefault(worker, label) != label:
            raise UserError(f"{source} line {number}: worker {worker!r} answers {task!r} twice")
    name = f"crowd-kit: {source.name}"
    if all(len(given) == 1 for given in said.values()):
        return labels_of(
            list(said),
            [list(given.values()) for given in said.values()],
            None,
            False,
            name,
            str(source),
        )
    return LabelTable(tuple(said), _shares(said), name)


def _shares(said: dict[str, dict[str, str]]) -> Soft:
    counts = [Counter(given.values()) for given in said.values()]
    classes = tuple(sorted({label for count in counts for label in count}))
    column = {label: i for i, label in enumerate(classes)}
    entries = [sorted((column[k], n / count.total()) for k, n in count.items()) for count in counts]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in entries])])
    flat = [pair for each in entries for pair in each]
    weights = np.array([weight for _, weight in flat], np.float32)
    return Soft(starts, np.array([c for c, _ in flat], np.int64), classes, weights)


def write(table: LabelTable, out: Path, options: ConvertOptions) -> tuple[str, ...]:
    """The labels as the answers of one worker, called as their source.

    Raises:
        UserError: not a .csv.
    """
    if out.suffix.lower() != ".csv":
        raise UserError(f"{out}: crowd-kit's answers are written as .csv")
    names = table.labels.names()
    worker = table.source or "reteach"
    rows = ((item, worker, given[0]) for item, given in zip(table.items, names, strict=True))
    atomic_write(out, to_csv(("task", "worker", "label"), rows))
    return ()
