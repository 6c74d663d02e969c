"""The owner opens a task, sees every answer, and decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, insert, select

from ..errors import UserError
from ..relabel.raters.ratings import NO, YES
from .schema import (
    answers,
    assignments,
    classes,
    found,
    given,
    items,
    predictors,
    questions,
    raters,
    remarks,
    rulings,
    tasks,
)
from .store import Store

NAME = 80
"""Most characters of the name of who rules."""


@dataclass(frozen=True)
class RaterAnswer:
    """An answer of a rater, or the place of one who has the task and was not asked this question."""

    rater: str
    counts: bool
    """Whether the rater is not excluded."""
    answer: int


@dataclass(frozen=True)
class OpenedQuestion:
    """A question with all that was said of it."""

    id: int
    name: str
    title: str
    description: str
    gold: float | None
    """Share of experts who said yes."""
    said: tuple[RaterAnswer, ...]
    ruling: int | None
    ruled_by: str
    ruled_at: float

    @property
    def tally(self) -> tuple[int, int, int]:
        """How many raters who count said no, maybe, yes."""
        words = [each.answer for each in self.said if each.counts]
        return words.count(0), words.count(1), words.count(2)


@dataclass(frozen=True)
class AtWork:
    """What one rater did with the task."""

    rater: str
    state: str
    submitted_at: float | None
    seconds: float | None
    active: float | None
    changes: int
    skipped: bool
    flagged: bool
    comment: str


@dataclass(frozen=True)
class OpenedTask:
    """A task as its owner sees it."""

    id: int
    item: int
    name: str
    state: str
    golden: bool
    missing: str | None
    original: str | None
    lacking: int
    found_by: str | None
    """The rater who saw the class that no model proposed."""
    questions: tuple[OpenedQuestion, ...]
    raters: tuple[AtWork, ...]
    labels: tuple[str, ...]
    """Mistakes: the labels by which the prediction is wrong."""
    models: tuple[str, ...]
    """Mistakes: whose prediction it is."""


def disputed() -> ColumnElement[bool]:
    """Tasks with a question to which raters said both yes and no, and on which nobody has ruled."""
    return exists().where(
        questions.c.task_id == tasks.c.id,
        questions.c.id.not_in(select(rulings.c.question_id)),
        _somebody_said(YES),
        _somebody_said(NO),
    )


def _somebody_said(word: int) -> ColumnElement[bool]:
    """To the question at hand, somebody who counts."""
    return exists().where(
        answers.c.question_id == questions.c.id,
        answers.c.answer == word,
        answers.c.rater_id == raters.c.id,
        raters.c.state != "excluded",
    )


def opened(store: Store, task: int) -> OpenedTask | None:
    """Everything about a task; None: there is none."""
    with store.read() as connection:
        row = connection.execute(
            select(tasks, items.c.name, items.c.missing, classes.c.name.label("original"))
            .join(items, tasks.c.item_id == items.c.id)
            .join(classes, items.c.original == classes.c.id, isouter=True)
            .where(tasks.c.id == task)
        ).first()
        if row is None:
            return None
        finder = connection.scalar(
            select(raters.c.name)
            .join(found, found.c.rater_id == raters.c.id)
            .where(found.c.task_id == task)
        )
        labels = select(classes.c.title).join(given, given.c.class_id == classes.c.id)
        models = select(predictors.c.model).where(predictors.c.task_id == task).distinct()
        return OpenedTask(
            task,
            row.item_id,
            row.name,
            row.state,
            row.golden,
            row.missing,
            row.original,
            row.lacking,
            finder,
            _questions(connection, task),
            _raters(connection, task),
            tuple(connection.scalars(labels.where(given.c.task_id == task))),
            tuple(connection.scalars(models)),
        )


def rule(store: Store, task: int, words: Mapping[int, int | None], by: str, now: float) -> None:
    """Keep the owner's word on questions of a task; None takes an earlier one back.

    Rulings stand beside the raters' answers and the gold that was there before: nothing is overwritten.

    Args:
        words: question -> NO, YES or None.
        by: who rules.

    Raises:
        UserError: mistakes are judged, not ruled on; or the name is none.
        ValueError: another question, or another answer.
    """
    if store.settings.kind != "labels":
        raise UserError("only questions about labels can be ruled on")
    name = by.strip()
    if not name or len(name) > NAME or not name.isprintable():
        raise UserError(f"say who rules, in 1 to {NAME} printable characters")
    if not set(words.values()) <= {NO, YES, None}:
        raise ValueError("a ruling is yes or no")
    with store.write() as connection:
        asked = connection.scalars(select(questions.c.id).where(questions.c.task_id == task)).all()
        if not set(words) <= set(asked):
            raise ValueError("other questions than the task's")
        stored = connection.execute(select(rulings).where(rulings.c.question_id.in_(list(words))))
        before = {row.question_id: row.answer for row in stored}
        for question, answer in words.items():
            if before.get(question) == answer:
                continue  # who ruled first keeps the ruling
            connection.execute(delete(rulings).where(rulings.c.question_id == question))
            if answer is not None:
                values = {"answer": answer, "ruled_by": name, "ruled_at": now}
                connection.execute(insert(rulings).values(question_id=question, **values))


def next_task(store: Store, chosen: ColumnElement[bool], after: int) -> int | None:
    """The task of a kind that comes after another one in the order of giving out, or else the first; None
    where there is none but that one.

    Args:
        chosen: the kind.
    """
    place = select(tasks.c.place).where(tasks.c.id == after).scalar_subquery()
    query = select(tasks.c.id).where(chosen, tasks.c.id != after).order_by(tasks.c.place).limit(1)
    with store.read() as connection:
        later = connection.scalar(query.where(tasks.c.place > place))
        return connection.scalar(query) if later is None else later


def _questions(connection: Connection, task: int) -> tuple[OpenedQuestion, ...]:
    rows = connection.execute(
        select(questions, classes.c.name, classes.c.title, classes.c.description, rulings)
        .join(classes, questions.c.class_id == classes.c.id)
        .join(rulings, rulings.c.question_id == questions.c.id, isouter=True)
        .where(questions.c.task_id == task)
        .order_by(questions.c.place)
    ).all()
    said: dict[int, list[RaterAnswer]] = {}
    for question, name, state, answer in connection.execute(
        select(answers.c.question_id, raters.c.name, raters.c.state, answers.c.answer)
        .join(raters, answers.c.rater_id == raters.c.id)
        .where(answers.c.question_id.in_([row.id for row in rows]))
        .order_by(answers.c.answer.desc(), raters.c.id)
    ):
        said.setdefault(question, []).append(RaterAnswer(name, state != "excluded", answer))
    return tuple(_opened(row, tuple(said.get(row.id, ()))) for row in rows)


def _opened(row: Row[*tuple[object, ...]], said: tuple[RaterAnswer, ...]) -> OpenedQuestion:
    at = row._mapping
    return OpenedQuestion(
        at["id"],
        at["name"],
        at["title"],
        at["description"],
        at["gold"],
        said,
        at["answer"],
        at["ruled_by"] or "",
        at["ruled_at"] or 0.0,
    )


def _raters(connection: Connection, task: int) -> tuple[AtWork, ...]:
    rows = connection.execute(
        select(
            raters.c.name,
            raters.c.state,
            assignments,
            remarks.c.flagged,
            remarks.c.comment,
        )
        .join(raters, assignments.c.rater_id == raters.c.id)
        .join(
            remarks,
            and_(
                remarks.c.task_id == assignments.c.task_id,
                remarks.c.rater_id == assignments.c.rater_id,
            ),
            isouter=True,
        )
        .where(assignments.c.task_id == task)
        .order_by(assignments.c.submitted_at, raters.c.id)
    )
    return tuple(
        AtWork(
            row.name,
            row.state,
            row.submitted_at,
            row.seconds,
            row.active,
            max(row.version - 1, 0),
            row.skipped_at is not None,
            bool(row.flagged),
            row.comment or "",
        )
        for row in rows
        if row.submitted_at is not None
        or row.skipped_at is not None
        or row.shown_at is not None
        or row.comment is not None
    )
