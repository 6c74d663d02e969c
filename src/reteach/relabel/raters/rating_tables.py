"""Ratings as a plain CSV: columns ``task, rater, answer``, or crowd-kit's ``task, worker, label``.

Two kinds of tables are told apart by their answers:

* answers *no, maybe, yes*: each task is a question about one class of one item. Columns ``item``
  and ``class`` name them; without these columns a task reads ``item#class``. Optional columns:
  ``gold`` (share of experts who said yes; empty where unknown) and ``original`` (the item's
  original class);
* any other answers: each task is an item, each answer the class that the rater sees in it.

A spreadsheet runs cells that begin with ``= + - @`` as formulas: such text is written with a ``'``
before it, which readers take away again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ...errors import UserError
from ...files import atomic_write
from ...scores.table import ItemIndex
from ...spreadsheet import to_csv, unguard
from .dawid_skene import Answers
from .ratings import ANSWERS, Ratings

Dialect = Literal["reteach", "crowd-kit"]
_ALIASES = {"rater": "worker", "answer": "label"}


@dataclass(frozen=True)
class RatingTable:
    """A CSV of ratings as text, one entry per row; optional columns are empty lists."""

    path: Path
    task: list[str]
    rater: list[str]
    answer: list[str]
    item: list[str]
    cls: list[str]
    gold: list[str]
    original: list[str]

    @property
    def binary(self) -> bool:
        """Whether all answers are *no*, *maybe* or *yes*."""
        return {answer.lower() for answer in self.answer} <= set(ANSWERS)


@dataclass(frozen=True, eq=False)
class Votes:
    """Raters who name classes: T items, answers being indices into ``classes``."""

    items: list[str]
    raters: list[str]
    classes: list[str]
    answers: Answers


def read_rating_table(path: Path) -> RatingTable:
    """Read the cells.

    Raises:
        UserError: no such file, a missing column, an empty cell or no rows.
    """
    if not path.is_file():
        raise UserError(f"ratings {path} do not exist")
    try:
        rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file") from None
    header = [name.strip().lower() for name in next(rows, [])]
    at: dict[str, int] = {}
    for name in ("task", "rater", "answer"):
        found = next((n for n in (name, _ALIASES.get(name)) if n in header), None)
        if found is None:
            also = f" or {_ALIASES[name]!r}" if name in _ALIASES else ""
            raise UserError(
                f"{path}: no column {name!r}{also} (found: {', '.join(header) or 'none'})"
            )
        at[name] = header.index(found)
    at |= {n: header.index(n) for n in ("item", "class", "gold", "original") if n in header}
    columns: dict[str, list[str]] = {
        name: [] for name in ("task", "rater", "answer", "item", "class", "gold", "original")
    }
    for number, cells in enumerate(rows, start=2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise UserError(f"{path}: line {number} has {len(cells)} of {len(header)} columns")
        for name, column in at.items():
            cell = cells[column].strip()
            if not cell and name not in ("gold", "original"):
                raise UserError(f"{path}: line {number}: the cell {header[column]!r} is empty")
            columns[name].append(unguard(cell))
    if not columns["task"]:
        raise UserError(f"{path}: there are no ratings in it")
    return RatingTable(path, *(columns[name] for name in columns))


def pairs_of(table: RatingTable, classes: Sequence[str] | None = None) -> Ratings:
    """The ratings of a table whose answers are *no, maybe, yes*.

    Args:
        classes: the class list; default: the classes that occur, sorted.

    Raises:
        UserError: another answer, a class that is not in the list, tasks that do not say their item
            and class, or rows that contradict each other.
    """
    path = table.path
    item_names, class_names = _questions(table)
    if classes is None:
        classes = sorted({*class_names, *(name for name in table.original if name)})
    where = {name: i for i, name in enumerate(classes)}
    items, raters, questions = ItemIndex(), ItemIndex(), ItemIndex()
    item = items.rows(item_names, str(path))
    pair = questions.rows([f"{i}\0{c}" for i, c in zip(item_names, class_names, strict=True)], "")
    _, first = np.unique(pair, return_index=True)

    def index(name: str) -> int:
        if name not in where:
            raise UserError(f"{path}: class {name!r} is not in the class list")
        return where[name]

    gold = np.full(len(questions), np.nan)
    original = np.full(len(items), -1, np.int64)
    for row, cell in enumerate(table.gold):
        if cell:
            gold[pair[row]] = _share(path, cell)
    for row, name in enumerate(table.original):
        if name and original[item[row]] not in (-1, index(name)):
            raise UserError(f"{path}: item {item_names[row]!r} has two original labels")
        if name:
            original[item[row]] = index(name)
    said = {name: i for i, name in enumerate(ANSWERS)}
    try:
        answer = np.array([said[cell.lower()] for cell in table.answer], np.int8)
    except KeyError as error:
        raise UserError(f"{path}: {error} is not one of the answers no, maybe, yes") from None
    return Ratings(
        items.names,
        list(classes),
        item[first],
        np.array([index(class_names[row]) for row in first.tolist()], np.int64),
        raters.names,
        raters.rows(table.rater, str(path)),
        pair,
        answer,
        gold,
        original,
    )


def votes_of(table: RatingTable) -> Votes:
    """The ratings of a table whose answers are classes; items and classes in sorted order."""
    items, classes = sorted(set(table.task)), sorted(set(table.answer))
    raters = ItemIndex()
    rater = raters.rows(table.rater, "")
    answers = Answers(
        ItemIndex(items).rows(table.task, ""),
        rater,
        ItemIndex(classes).rows(table.answer, ""),
        len(items),
        len(raters),
        len(classes),
    )
    return Votes(items, raters.names, classes, answers)


def write_ratings(path: Path, ratings: Ratings, dialect: Dialect = "reteach") -> None:
    """Write ratings as CSV, one row per answer, with the item, class, gold and original label."""
    ours = dialect == "reteach"
    names = ("rater", "answer") if ours else ("worker", "label")
    cells: list[Sequence[str]] = []
    rows = zip(ratings.pair.tolist(), ratings.rater.tolist(), ratings.answer.tolist(), strict=True)
    for pair, rater, answer in rows:
        item = ratings.items[ratings.pair_item[pair]]
        cls = ratings.classes[ratings.pair_class[pair]]
        share, label = ratings.gold[pair], ratings.original[ratings.pair_item[pair]]
        gold = "" if np.isnan(share) else f"{share:.17g}"
        original = "" if label < 0 else ratings.classes[label]
        said = (f"{item}#{cls}", ratings.raters[rater], ANSWERS[answer])
        cells.append((*said, item, cls, gold, original))
    atomic_write(path, to_csv(["task", *names, "item", "class", "gold", "original"], cells))


def _questions(table: RatingTable) -> tuple[list[str], list[str]]:
    """Item and class of every row."""
    if table.item and table.cls:
        return table.item, table.cls
    parts = [task.rpartition("#") for task in table.task]
    odd = next((task for task, part in zip(table.task, parts, strict=True) if not part[0]), None)
    if odd is not None:
        raise UserError(
            f"{table.path}: task {odd!r} does not say its item and class: add columns 'item' and "
            "'class', or write tasks as item#class"
        )
    return [part[0] for part in parts], [part[2] for part in parts]


def _share(path: Path, cell: str) -> float:
    try:
        share = float(cell)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UserError(f"{path}: gold should be a share between 0 and 1, got {cell[:30]!r}")
    return share
