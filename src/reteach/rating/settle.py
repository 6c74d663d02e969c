"""When a task has enough answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    func,
    select,
    update,
)

from ..relabel.raters.ratings import MAYBE, NO, YES
from ..relabel.raters.stopping import lacking
from .schema import answers, questions, raters, tasks
from .store import Settings


def settle(
    connection: Connection,
    settings: Settings,
    which: ColumnElement[bool],
    **values: Any,
) -> None:
    """Set what the tasks ``which`` lack, and their state, by the answers that count.

    Golden tasks stay open, and tasks that are set aside stay so.

    Args:
        values: of the parameters of ``which``.
    """
    _store(connection, settings, connection.execute(tally(which), values).all())


def settle_task(connection: Connection, settings: Settings, task: int) -> None:
    """The same for one task."""
    _store(connection, settings, connection.execute(_ONE, {"this_task": task}).all())


def open_questions(connection: Connection, settings: Settings, task: int) -> list[int]:
    """The questions of a task that still need answers, in their order."""
    rows = connection.execute(_ONE, {"this_task": task}).all()
    need = lacking(np.array([row[3:] for row in rows]), settings.wanted, settings.agree)
    return [row.question for row, n in zip(rows, need.tolist(), strict=True) if n]


def tally(which: ColumnElement[bool]) -> Select[Any]:
    """Per question of the tasks ``which``: task, golden, question, and the counts of no, maybe, yes."""
    counts = and_(answers.c.rater_id == raters.c.id, raters.c.state != "excluded")

    def said(word: int) -> ColumnElement[int]:
        mine = and_(answers.c.answer == word, raters.c.id.is_not(None))
        return func.sum(case((mine, 1), else_=0))

    return (
        select(
            tasks.c.id.label("task"),
            tasks.c.golden,
            questions.c.id.label("question"),
            *(said(word) for word in (NO, MAYBE, YES)),
        )
        .select_from(tasks)
        .join(questions, questions.c.task_id == tasks.c.id)
        .join(answers, answers.c.question_id == questions.c.id, isouter=True)
        .join(
            raters, counts, isouter=True
        )  # SQLite would look through all answers of a join in brackets
        .where(which)
        .group_by(tasks.c.id, tasks.c.golden, questions.c.id, questions.c.place)
        .order_by(tasks.c.id, questions.c.place)
    )


def _store(connection: Connection, settings: Settings, rows: Any) -> None:
    if not rows:
        return
    counts = np.array([row[3:] for row in rows], np.int64)
    golden = np.array([bool(row.golden) for row in rows])
    need = np.where(  # golden tasks are there to judge raters: all of them
        golden,
        lacking(counts, settings.wanted),
        lacking(counts, settings.wanted, settings.agree),
    )
    most: dict[int, int] = {}
    for row, n in zip(rows, need.tolist(), strict=True):
        most[row.task] = max(most.get(row.task, 0), n)
    connection.execute(_LACKS, [{"this_task": task, "n": n} for task, n in most.items()])


# Statements are built once: building one takes longer than SQLite takes to run it.

_ONE = tally(tasks.c.id == bindparam("this_task"))
_n: BindParameter[int] = bindparam("n")
_LACKS = (
    update(tasks)
    .where(tasks.c.id == bindparam("this_task"))
    .values(
        lacking=_n,
        state=case(
            (tasks.c.golden.is_(True), tasks.c.state),
            (tasks.c.state == "aside", "aside"),
            (_n == 0, "done"),
            else_="open",
        ),
    )
)
