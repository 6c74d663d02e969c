"""What the pages show of a task."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BindParameter, Connection, and_, bindparam, exists, false, func, select

from .schema import (
    answers,
    assignments,
    classes,
    examples,
    given,
    items,
    questions,
    remarks,
    tasks,
)

EXAMPLES = 6


@dataclass(frozen=True)
class ClassView:
    """A class with its text and the items of some images that show it."""

    id: int
    title: str
    description: str
    examples: tuple[int, ...]

    @property
    def name(self) -> str:
        """The first of several names between commas."""
        return self.title.partition(", ")[0]

    @property
    def synonyms(self) -> str:
        """The other names."""
        return self.title.partition(", ")[2]


@dataclass(frozen=True)
class Question:
    """One question of a task, and the rater's answer if there is one."""

    id: int
    about: ClassView
    answer: int | None


@dataclass(frozen=True)
class TaskView:
    """A task as a rater sees it."""

    id: int
    item: int
    questions: tuple[Question, ...]
    labels: tuple[ClassView, ...]
    """Mistakes: the labels by which the prediction is wrong."""
    version: int
    """Version of the rater's answer; 0: none yet."""
    flagged: bool = False
    comment: str = ""


@dataclass(frozen=True)
class AnswerCounts:
    """How far a rater is."""

    answered: int
    left: int
    """Open tasks that the rater has not answered or skipped, golden ones aside; others may take some."""

    @property
    def total(self) -> int:
        """The end of the progress bar."""
        return self.answered + self.left


def task_view(connection: Connection, rater: int, task: int) -> TaskView | None:
    """A task in the rater's hands, or answered by them; None if it never was."""
    given_to = connection.execute(_GIVEN_TO, {"rater": rater, "task": task}).first()
    if given_to is None:
        return None
    every = connection.execute(_ASKED, {"rater": rater, "task": task}).all()
    open_ = None if given_to.asked is None else set(map(int, given_to.asked.split(",")))
    asked = [each for each in every if open_ is None or each.id in open_]
    said = connection.execute(_REMARK, {"rater": rater, "task": task}).first()
    right = connection.scalars(_RIGHT, {"task": task}).all()
    views = _classes(connection, {each.class_id for each in asked} | set(right), given_to.item_id)
    return TaskView(
        task,
        given_to.item_id,
        tuple(Question(each.id, views[each.class_id], each.answer) for each in asked),
        tuple(views[c] for c in right),
        given_to.version,
        said is not None and said.flagged,
        "" if said is None else said.comment,
    )


def earlier(connection: Connection, rater: int, than: int | None) -> int | None:
    """The task that the rater answered last, or last before the answered task ``than``."""
    if than is None:
        return connection.scalar(_LAST, {"rater": rater})
    return connection.scalar(_EARLIER, {"rater": rater, "task": than})


def counts(connection: Connection, rater: int) -> AnswerCounts:
    """How far the rater is."""
    answered, left, both = connection.execute(_COUNTS, {"rater": rater}).one()
    return AnswerCounts(answered, left - both)


def item_name(connection: Connection, item: int) -> str | None:
    """The name of an image that raters may see: of a task, or an example; else None."""
    return connection.scalar(_ITEM, {"item": item})


def _classes(connection: Connection, wanted: set[int], but: int) -> dict[int, ClassView]:
    """The views of these classes; the image being judged is no example."""
    which = {"classes": sorted(wanted), "item": but}
    shown: dict[int, list[int]] = {}
    for c, item in connection.execute(_EXAMPLES, which):
        shown.setdefault(c, []).append(item)
    texts = connection.execute(_TEXTS, which)
    return {c: ClassView(c, t, d, tuple(shown.get(c, [])[:EXAMPLES])) for c, t, d in texts}


# Statements are built once: building one takes longer than SQLite takes to run it.

_rater: BindParameter[int] = bindparam("rater")
_task: BindParameter[int] = bindparam("task")
_item: BindParameter[int] = bindparam("item")
_of_these: BindParameter[int] = bindparam("classes", expanding=True)
_own = assignments.c.rater_id == _rater
_submitted = assignments.c.submitted_at.is_not(None)

_GIVEN_TO = (
    select(tasks.c.item_id, assignments.c.version, assignments.c.asked)
    .join(tasks, assignments.c.task_id == tasks.c.id)
    .where(assignments.c.task_id == _task, _own)
)
_ASKED = (
    select(questions.c.id, questions.c.class_id, answers.c.answer)
    .join(
        answers,
        and_(answers.c.question_id == questions.c.id, answers.c.rater_id == _rater),
        isouter=True,
    )
    .where(questions.c.task_id == _task)
    .order_by(questions.c.place)
)
_REMARK = select(remarks.c.flagged, remarks.c.comment).where(
    remarks.c.task_id == _task, remarks.c.rater_id == _rater
)
_RIGHT = select(given.c.class_id).where(given.c.task_id == _task).order_by(given.c.class_id)

_LAST = (
    select(assignments.c.task_id)
    .where(_own, _submitted)
    .order_by(assignments.c.submitted_at.desc())
    .limit(1)
)
_here = assignments.alias()
_EARLIER = _LAST.where(
    assignments.c.submitted_at
    < select(_here.c.submitted_at)
    .where(_here.c.task_id == _task, _here.c.rater_id == _rater)
    .scalar_subquery()
)

# "golden IS 0" takes SQLite twice as long
_regular_open = and_(tasks.c.golden == false(), tasks.c.state == "open")
_through = assignments.alias()
_COUNTS = select(
    select(func.count()).select_from(assignments).where(_own, _submitted).scalar_subquery(),
    select(func.count()).select_from(tasks).where(_regular_open).scalar_subquery(),
    # of the rater's own rows, each with its task: SQLite would go through all open tasks of a join
    select(func.count())
    .select_from(_through)
    .where(
        _through.c.rater_id == _rater,
        _through.c.submitted_at.is_not(None) | _through.c.skipped_at.is_not(None),
        exists().where(tasks.c.id == _through.c.task_id, _regular_open),
    )
    .scalar_subquery(),
)

_ITEM = select(items.c.name).where(
    items.c.id == _item,
    exists().where(tasks.c.item_id == items.c.id)
    | exists().where(examples.c.item_id == items.c.id),
)
_EXAMPLES = (
    select(examples.c.class_id, examples.c.item_id)
    .join(items, examples.c.item_id == items.c.id)
    .where(
        examples.c.class_id.in_(_of_these), examples.c.item_id != _item, items.c.missing.is_(None)
    )
    .order_by(examples.c.class_id, examples.c.place)
)
_TEXTS = select(classes.c.id, classes.c.title, classes.c.description).where(
    classes.c.id.in_(_of_these)
)
