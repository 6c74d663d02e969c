"""What the owner sees: how far the work is, how each rater does, which tasks need a look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, select

from ..analysis.intervals import wilson
from ..relabel.raters.consensus import EXPERTS
from ..relabel.raters.ratings import MAYBE, YES
from .adjudication import disputed
from .schema import (
    RaterState,
    answers,
    assignments,
    classes,
    found,
    items,
    questions,
    raters,
    remarks,
    rulings,
    tasks,
)
from .store import Store

PAGE = 50
Filter = Literal["all", "disputed", "flagged", "found", "ruled", "open", "done", "golden", "aside"]
FILTERS: tuple[Filter, ...] = get_args(Filter)


@dataclass(frozen=True)
class WorkDone:
    """The whole work. *Answers* are tasks answered by one rater; excluded raters do not count."""

    tasks: int
    """Regular tasks, that is those that are not golden."""
    done: int
    aside: int
    """Tasks, golden ones too, whose image cannot be shown."""
    golden: int
    answers: int
    """Answers to all tasks."""
    wanted: int
    """Answers to the tasks that are not set aside, and those that they lack as things stand; golden ones
    need as many as others on which raters differ, if they are given out."""
    counted: int
    """Answers to the same tasks, no more than are wanted of each."""
    disputed: int
    """Tasks on which raters differ, and nobody has ruled."""
    flagged: int
    """Tasks with a rater's remark."""


@dataclass(frozen=True)
class RaterRow:
    """One rater's work."""

    id: int
    name: str
    state: RaterState
    linked: bool
    answered: int
    median: float | None
    """Seconds per task; None before the first answer."""
    ninth: float | None
    """Seconds that nine of ten tasks took at most."""
    last: float | None
    """When the last answer came."""
    maybe: float | None
    """Share of the answers that take no side."""
    right: int
    """Golden questions answered yes or no as the experts did."""
    judged: int
    """Golden questions answered yes or no."""

    @property
    def agreement(self) -> float | None:
        """With the experts, where both took a side."""
        return self.right / self.judged if self.judged else None

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the agreement (Wilson)."""
        low, high = wilson(self.right, self.judged)
        return float(low), float(high)


@dataclass(frozen=True)
class TaskRow:
    """One task."""

    id: int
    item: int
    name: str
    state: str
    golden: bool
    answered: int
    held: int
    """Raters who have it on their screen."""
    classes: tuple[str, ...]
    """The first name of each."""
    missing: str | None
    lacking: int
    """Answers to come, as things stand."""
    disputed: bool
    """Raters said both yes and no to a question, and nobody has ruled on it."""
    flagged: bool
    """A rater flagged it, or left a comment."""
    ruled: bool


def progress(store: Store) -> WorkDone:
    """Counts over all tasks."""
    wanted = store.settings.wanted
    each = (
        select(assignments.c.task_id, func.count().label("n"))
        .join(raters, assignments.c.rater_id == raters.c.id)
        .where(assignments.c.submitted_at.is_not(None), raters.c.state != "excluded")
        .group_by(assignments.c.task_id)
        .subquery()
    )
    n = func.coalesce(each.c.n, 0)
    query = (
        select(
            tasks.c.golden,
            tasks.c.state,
            func.count().label("tasks"),
            func.sum(n).label("answers"),
            func.sum(case((n > wanted, wanted), else_=n)).label("counted"),
            func.sum(tasks.c.lacking).label("lacking"),
        )
        .join(each, each.c.task_id == tasks.c.id, isouter=True)
        .group_by(tasks.c.golden, tasks.c.state)
    )
    with store.understood(), store.read() as connection:
        rows = connection.execute(query).all()
        kinds = {
            kind: connection.scalar(
                select(func.count()).select_from(tasks).where(tasks_that_are(kind))
            )
            for kind in ("disputed", "flagged")
        }
    regular = [row for row in rows if not row.golden]
    work = rows if store.settings.gold_rate > 0 else regular
    active = [row for row in work if row.state != "aside"]
    return WorkDone(
        tasks=sum(row.tasks for row in regular),
        done=sum(row.tasks for row in regular if row.state == "done"),
        aside=sum(row.tasks for row in rows if row.state == "aside"),
        golden=sum(row.tasks for row in rows if row.golden),
        answers=sum(int(row.answers) for row in rows),
        wanted=sum(int(row.counted) + int(row.lacking) for row in active),
        counted=sum(int(row.counted) for row in active),
        disputed=kinds["disputed"] or 0,
        flagged=kinds["flagged"] or 0,
    )


def rater_rows(store: Store) -> list[RaterRow]:
    """All raters, in the order in which they were added."""
    with store.understood(), store.read() as connection:
        people = connection.execute(select(raters).order_by(raters.c.id)).all()
        work = {row.rater_id: row for row in connection.execute(_work())}
        said = {row.rater_id: row for row in connection.execute(_said())}
        gold = {row.rater_id: row for row in connection.execute(_judged())}
    out = []
    for person in people:
        done, spoken, judged = (found.get(person.id) for found in (work, said, gold))
        out.append(
            RaterRow(
                person.id,
                person.name,
                cast(RaterState, person.state),
                person.token_hash is not None,
                done.n if done else 0,
                done.median if done else None,
                done.ninth if done else None,
                done.last if done else None,
                int(spoken.maybe) / spoken.n if spoken else None,
                int(judged.right) if judged else 0,
                judged.n if judged else 0,
            )
        )
    return out


def task_rows(store: Store, which: Filter, page: int) -> tuple[list[TaskRow], int]:
    """One page of tasks in the order in which they are given out, and the number of pages."""
    chosen = tasks_that_are(which)
    with store.understood(), store.read() as connection:
        total = connection.scalar(select(func.count()).select_from(tasks).where(chosen)) or 0
        rows = connection.execute(
            select(tasks, items.c.name, items.c.missing)
            .join(items, tasks.c.item_id == items.c.id)
            .where(chosen)
            .order_by(tasks.c.place)
            .limit(PAGE)
            .offset(PAGE * page)
        ).all()
        ids = [row.id for row in rows]
        titles: dict[int, list[str]] = {}
        for task, title in connection.execute(
            select(questions.c.task_id, classes.c.title)
            .join(classes, questions.c.class_id == classes.c.id)
            .where(questions.c.task_id.in_(ids))
            .order_by(questions.c.task_id, questions.c.place)
        ):
            titles.setdefault(task, []).append(title.partition(", ")[0])
        of_kind = {
            kind: set(
                connection.scalars(
                    select(tasks.c.id).where(tasks.c.id.in_(ids), tasks_that_are(kind))
                )
            )
            for kind in ("disputed", "flagged", "ruled")
        }
        taken: dict[int, list[bool]] = {}
        counts = exists().where(raters.c.id == assignments.c.rater_id, raters.c.state != "excluded")
        for task, submitted in connection.execute(
            select(assignments.c.task_id, assignments.c.submitted_at.is_not(None)).where(
                assignments.c.task_id.in_(ids),
                counts,
                assignments.c.submitted_at.is_not(None) | assignments.c.shown_at.is_not(None),
            )
        ):
            taken.setdefault(task, []).append(bool(submitted))
    out = [
        TaskRow(
            row.id,
            row.item_id,
            row.name,
            row.state,
            row.golden,
            sum(taken.get(row.id, [])),
            len(taken.get(row.id, [])) - sum(taken.get(row.id, [])),
            tuple(titles.get(row.id, [])),
            row.missing,
            row.lacking,
            row.id in of_kind["disputed"],
            row.id in of_kind["flagged"],
            row.id in of_kind["ruled"],
        )
        for row in rows
    ]
    return out, max(1, -(-total // PAGE))


def tasks_that_are(which: Filter) -> ColumnElement[bool]:
    """The tasks of a kind."""
    ruled = select(questions.c.task_id).join(rulings, rulings.c.question_id == questions.c.id)
    chosen: dict[Filter, ColumnElement[bool]] = {
        "all": tasks.c.id >= 0,
        "disputed": disputed(),
        "flagged": tasks.c.id.in_(select(remarks.c.task_id)),
        "found": tasks.c.id.in_(select(found.c.task_id)),
        "ruled": tasks.c.id.in_(ruled),
        "open": and_(tasks.c.state == "open", tasks.c.golden.is_(False)),
        "done": tasks.c.state == "done",
        "golden": tasks.c.golden.is_(True),
        "aside": tasks.c.state == "aside",
    }
    return chosen[which]


def missing_items(store: Store) -> list[tuple[int, str, str]]:
    """(item, name, reason) of the images that could not be shown."""
    query = select(items.c.id, items.c.name, items.c.missing).where(items.c.missing.is_not(None))
    with store.understood(), store.read() as connection:
        return [(row.id, row.name, row.missing) for row in connection.execute(query)]


def _work() -> Select[*tuple[int, ...]]:
    """Per rater: number of answered tasks, quantiles of their time, and when the last one came."""
    ranked = (
        select(
            assignments.c.rater_id,
            assignments.c.seconds,
            assignments.c.submitted_at,
            func.row_number()
            .over(
                partition_by=assignments.c.rater_id,
                order_by=(assignments.c.seconds.is_(None), assignments.c.seconds),
            )
            .label("rank"),
            func.count(assignments.c.seconds).over(partition_by=assignments.c.rater_id).label("n"),
        )
        .where(assignments.c.submitted_at.is_not(None))
        .subquery()
    )
    middle, ninth = (ranked.c.n + 1) // 2, (ranked.c.n * 9 + 9) // 10
    return select(
        ranked.c.rater_id,
        func.count().label("n"),
        func.max(case((ranked.c.rank == middle, ranked.c.seconds))).label("median"),
        func.max(case((ranked.c.rank == ninth, ranked.c.seconds))).label("ninth"),
        func.max(ranked.c.submitted_at).label("last"),
    ).group_by(ranked.c.rater_id)


def _said() -> Select[*tuple[int, ...]]:
    """Per rater: number of answers, and of those that take no side."""
    return select(
        answers.c.rater_id,
        func.count().label("n"),
        func.sum(case((answers.c.answer == MAYBE, 1), else_=0)).label("maybe"),
    ).group_by(answers.c.rater_id)


def _judged() -> Select[*tuple[int, ...]]:
    """Per rater: number of golden questions answered yes or no, and of those answered rightly."""
    right = (answers.c.answer == YES) == (questions.c.gold > EXPERTS)
    return (
        select(
            answers.c.rater_id,
            func.count().label("n"),
            func.sum(case((right, 1), else_=0)).label("right"),
        )
        .join(questions, answers.c.question_id == questions.c.id)
        .where(questions.c.gold.is_not(None), answers.c.answer != MAYBE)
        .group_by(answers.c.rater_id)
    )
