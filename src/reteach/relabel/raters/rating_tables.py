"""Ratings as a plain CSV: columns ``task, rater, answer``, or crowd-kit's ``task, worker, label``.

Two kinds of tables are told apart by their answers:

* answers *no, maybe, yes*: each task is a question about one class of one item. Columns ``item``
  and ``class`` name them; without these columns a task reads ``item#class``. Optional columns:
  ``gold`` (share of experts who said yes; empty where unknown), ``original`` (the item's
  original class), ``wanted`` (answers that each pair needs, the same in all rows), ``agree``
  (those that settle a pair on which raters agree, alike), ``ruled_by`` and ``ruled_at`` (whose
  word the gold is, where the owner decided a pair after looking at its answers);
* any other answers: each task is an item, each answer the class that the rater sees in it.

A row without rater and answer tells no answer but what there is: a pair that nobody has answered yet (item
and class), an item (no class; items that nobody is asked about have no other row), or a class of the class
list (no item). With such rows, or the column ``wanted``, a table says what was asked; else only what was
answered.

A spreadsheet runs cells that begin with ``= + - @`` as formulas: such text is written with a ``'``
before it, which readers take away again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from ...errors import UserError
from ...files import atomic_write
from ...item_index import ItemIndex
from ...spreadsheet import csv_table, to_csv, unguard
from .dawid_skene import Answers
from .ratings import ANSWERS, Indices, Ratings, Ruling

Dialect = Literal["reteach", "crowd-kit"]
_ALIASES = {"rater": "worker", "answer": "label"}
_MAY_BE_EMPTY = ("gold", "original", "wanted", "agree", "ruled_by", "ruled_at")


@dataclass(frozen=True)
class RatingTable:
    """A CSV of ratings as text, one entry per row; optional columns are empty lists.

    Rows that tell what there is have the rater and the answer ``""``.
    """

    path: Path
    task: list[str]
    rater: list[str]
    answer: list[str]
    item: list[str]
    cls: list[str]
    gold: list[str]
    original: list[str]
    wanted: list[str]
    agree: list[str] = field(default_factory=list)
    ruled_by: list[str] = field(default_factory=list)
    ruled_at: list[str] = field(default_factory=list)

    @property
    def binary(self) -> bool:
        """Whether all answers are *no*, *maybe* or *yes*."""
        return {answer.lower() for answer in self.answer if answer} <= set(ANSWERS)

    @property
    def lists_asked(self) -> bool:
        """Whether pairs without an answer would be in the table."""
        return bool(self.wanted) or "" in self.answer

    def answers_wanted(self) -> int | None:
        """Answers that each pair needs, None where the table does not say.

        Raises:
            UserError: no number, or two.
        """
        return self._number("wanted", self.wanted)

    def answers_that_agree(self) -> int | None:
        """Answers that settle a pair on which raters agree, None where the table does not say.

        Raises:
            UserError: as :meth:`answers_wanted`.
        """
        return self._number("agree", self.agree)

    def _number(self, name: str, cells: list[str]) -> int | None:
        said = {cell for cell in cells if cell}
        if not said:
            return None
        cell = min(said)
        if len(said) > 1 or not re.fullmatch("[0-9]{1,9}", cell) or not int(cell):
            raise UserError(
                f"{self.path}: the column {name!r} should have one number of answers in all rows, "
                f"got {', '.join(sorted(said))[:60]}"
            )
        return int(cell)


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
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, rows = csv_table(path, file, fold=True)
        return _rating_table(path, header, rows)


def _rating_table(
    path: Path, header: list[str], rows: Iterator[tuple[int, list[str]]]
) -> RatingTable:
    at: dict[str, int] = {}
    for name in ("task", "rater", "answer"):
        found = next((n for n in (name, _ALIASES.get(name)) if n in header), None)
        if found is None:
            also = f" or {_ALIASES[name]!r}" if name in _ALIASES else ""
            raise UserError(
                f"{path}: no column {name!r}{also} (found: {', '.join(header) or 'none'})"
            )
        at[name] = header.index(found)
    more = ("item", "class", *_MAY_BE_EMPTY)
    at |= {n: header.index(n) for n in more if n in header}
    columns: dict[str, list[str]] = {name: [] for name in ("task", "rater", "answer", *more)}
    for number, cells in rows:
        found_cells = {name: cells[column].strip() for name, column in at.items()}
        for name in _needed(found_cells):
            if not found_cells[name]:
                raise UserError(f"{path}: line {number}: the cell {header[at[name]]!r} is empty")
        for name, cell in found_cells.items():
            columns[name].append(unguard(cell))
    if not columns["task"]:
        raise UserError(f"{path}: there are no ratings in it")
    table = RatingTable(path, *(columns[name] for name in columns))
    table.answers_wanted()  # refuses a column that does not say it
    table.answers_that_agree()
    return table


def _needed(cells: dict[str, str]) -> list[str]:
    """The columns whose cells have to say something in this row."""
    if cells["rater"] or cells["answer"]:
        return [name for name in cells if name not in _MAY_BE_EMPTY]
    if "item" not in cells or "class" not in cells:
        return ["task"]
    if cells.get("gold"):
        return ["item", "class"]  # gold is about a pair
    return [] if cells["item"] or cells["class"] else ["item"]


def pairs_of(table: RatingTable, classes: Sequence[str] | None = None) -> Ratings:
    """The ratings of a table whose answers are *no, maybe, yes*.

    Args:
        classes: the class list; default: the table's own, or else the classes that occur, sorted.

    Raises:
        UserError: another answer, a class that is not in the list, tasks that do not say their item
            and class, or rows that contradict each other.
    """
    path = table.path
    item_names, class_names = _questions(table)
    listed = [c for i, c in zip(item_names, class_names, strict=True) if not i]
    if classes is None:
        classes = listed or sorted({*class_names, *table.original} - {""})
    where = {name: i for i, name in enumerate(classes)}
    items, raters, questions = ItemIndex(), ItemIndex(), ItemIndex()
    about = [row for row, name in enumerate(item_names) if name]
    item = _spread(
        about, items.rows([item_names[row] for row in about], str(path)), len(item_names)
    )
    asked = [row for row in about if class_names[row]]
    keys = [f"{len(item_names[row])} {item_names[row]}{class_names[row]}" for row in asked]
    pair = _spread(asked, questions.rows(keys, ""), len(item_names))
    _, place = np.unique(pair[asked], return_index=True)
    first = np.array(asked, np.int64)[place]
    said_rows = [row for row in asked if table.answer[row]]

    def index(name: str) -> int:
        if name not in where:
            raise UserError(f"{path}: class {name!r} is not in the class list")
        return where[name]

    gold = np.full(len(questions), np.nan)
    original = np.full(len(items), -1, np.int64)
    for row, cell in enumerate(table.gold):
        if cell and pair[row] >= 0:
            gold[pair[row]] = _share(path, cell)
    ruled: dict[int, Ruling] = {}
    for row, by in enumerate(table.ruled_by):
        if by and pair[row] >= 0:
            if not table.gold[row : row + 1] or not table.gold[row]:
                raise UserError(
                    f"{path}: {by!r} ruled on {item_names[row]!r}, but the cell 'gold' is empty"
                )
            ruled[int(pair[row])] = Ruling(by, table.ruled_at[row] if table.ruled_at else "")
    for row, name in enumerate(table.original):
        if item[row] < 0:
            continue
        if name and original[item[row]] not in (-1, index(name)):
            raise UserError(f"{path}: item {item_names[row]!r} has two original labels")
        if name:
            original[item[row]] = index(name)
    said = {name: i for i, name in enumerate(ANSWERS)}
    try:
        answer = np.array([said[table.answer[row].lower()] for row in said_rows], np.int8)
    except KeyError as error:
        raise UserError(f"{path}: {error} is not one of the answers no, maybe, yes") from None
    return Ratings(
        items.names,
        list(classes),
        item[first],
        np.array([index(class_names[row]) for row in first.tolist()], np.int64),
        raters.names,
        raters.rows([table.rater[row] for row in said_rows], str(path)),
        pair[said_rows],
        answer,
        gold,
        original,
        ruled,
    )


def _spread(rows: list[int], values: Indices, length: int) -> Indices:
    """The values at their rows, -1 at all others."""
    out = np.full(length, -1, np.int64)
    out[rows] = values
    return out


def votes_of(table: RatingTable) -> Votes:
    """The ratings of a table whose answers are classes; items and classes in sorted order.

    Raises:
        UserError: a row without an answer.
    """
    if "" in table.answer:
        raise UserError(
            f"{table.path}: row {table.answer.index('') + 1} has no rater and no answer: that belongs "
            "to answers that are no, maybe or yes"
        )
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


def write_ratings(
    path: Path,
    ratings: Ratings,
    dialect: Dialect = "reteach",
    wanted: int | None = None,
    agree: int | None = None,
) -> None:
    """Write ratings as CSV: the classes, the items, and a row per answer or unanswered pair.

    Args:
        dialect: *crowd-kit*'s tables have no rows but those of answers.
        wanted: answers that each pair needs.
        agree: answers that settle a pair on which raters agree; None: ``wanted``.
    """
    names, extra = ("worker", "label"), ["item", "class", "gold", "original"]
    cells = [row for row in _pair_rows(ratings) if row[1]]
    if dialect == "reteach":
        names, extra = ("rater", "answer"), [*extra, "wanted"]
        rows = [*_class_rows(ratings), *_item_rows(ratings), *_pair_rows(ratings)]
        cells = [(*row, "" if wanted is None else wanted) for row in rows]
        if agree is not None:
            extra, cells = [*extra, "agree"], [(*row, agree) for row in cells]
        if ratings.ruled:
            extra, cells = [*extra, "ruled_by", "ruled_at"], _with_rulings(ratings, cells)
    atomic_write(path, to_csv(["task", *names, *extra], cells))


Row = tuple[str | int, ...]


def _with_rulings(ratings: Ratings, cells: list[Row]) -> list[Row]:
    """The rows with who ruled on their pair, and when."""
    said = {
        (
            ratings.items[ratings.pair_item[pair]],
            ratings.classes[ratings.pair_class[pair]],
        ): ruling
        for pair, ruling in ratings.ruled.items()
    }
    return [(*row, *said.get((str(row[3]), str(row[4])), ("", ""))) for row in cells]


def _class_rows(ratings: Ratings) -> Iterator[Row]:
    for name in ratings.classes:
        yield "", "", "", "", name, "", ""


def _item_rows(ratings: Ratings) -> Iterator[Row]:
    for item, name in enumerate(ratings.items):
        yield "", "", "", name, "", "", _original(ratings, item)


def _pair_rows(ratings: Ratings) -> Iterator[Row]:
    """A row for each answer to a pair, one without rater and answer where there is none."""
    order = np.argsort(ratings.pair, kind="stable")
    ends = np.searchsorted(ratings.pair[order], np.arange(len(ratings.pair_item) + 1))
    for pair, (a, b) in enumerate(pairwise(ends.tolist())):
        at, share = int(ratings.pair_item[pair]), ratings.gold[pair]
        item, cls = ratings.items[at], ratings.classes[ratings.pair_class[pair]]
        gold = "" if np.isnan(share) else f"{share:.17g}"
        said = [(ratings.raters[ratings.rater[k]], ANSWERS[ratings.answer[k]]) for k in order[a:b]]
        for rater, answer in said or [("", "")]:
            yield f"{item}#{cls}", rater, answer, item, cls, gold, _original(ratings, at)


def _original(ratings: Ratings, item: int) -> str:
    label = ratings.original[item]
    return "" if label < 0 else ratings.classes[label]


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
