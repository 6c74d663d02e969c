"""What a rater says of an image beside the answers: remarks, and classes that nobody was asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Connection, delete, func, insert, select

from .schema import answers, assignments, classes, found, questions, remarks, tasks
from .settle import settle_task
from .store import Settings

COMMENT = 1000
"""Most characters of a comment."""


@dataclass(frozen=True)
class Beside:
    """Beside the answers to a task."""

    flagged: bool = False
    """Something is wrong with the task: the owner should look."""
    comment: str = ""
    others: tuple[int, ...] = ()
    """Classes that are in the image, and were not asked about."""
    active: float | None = None
    """Seconds in which the page was seen and used."""


def remark(connection: Connection, rater: int, task: int, said: Beside, now: float) -> None:
    """Keep the flag and the comment; without either, an earlier remark goes."""
    here = (remarks.c.task_id == task, remarks.c.rater_id == rater)
    connection.execute(delete(remarks).where(*here))
    comment = said.comment.strip()[:COMMENT]
    if said.flagged or comment:
        values = {"flagged": said.flagged, "comment": comment, "made_at": now}
        connection.execute(insert(remarks).values(task_id=task, rater_id=rater, **values))


def propose(
    connection: Connection, settings: Settings, rater: int, task: int, name: int, now: float
) -> None:
    """Ask about a class that a rater sees in the image of a task: a new task, which the rater has answered
    with yes.

    A class that is asked about already stays where it is. A second rater who finds the same says yes to it
    too.
    """
    item = connection.scalar(select(tasks.c.item_id).where(tasks.c.id == task))
    asked = connection.execute(
        select(questions.c.id, questions.c.task_id, found.c.rater_id)
        .join(tasks, questions.c.task_id == tasks.c.id)
        .join(found, found.c.task_id == tasks.c.id, isouter=True)
        .where(tasks.c.item_id == item, questions.c.class_id == name)
    ).first()
    if asked is not None and asked.rater_id is None:
        return  # by a model, in this task or another one
    if asked is not None:
        question, where = asked.id, asked.task_id
        held = (assignments.c.task_id == where, assignments.c.rater_id == rater)
        if connection.scalar(select(assignments.c.version).where(*held)):
            return  # answered already
        connection.execute(delete(assignments).where(*held))
    else:
        where = _next(connection, tasks.c.id)
        question = _next(connection, questions.c.id)
        place = _next(connection, tasks.c.place)
        row = {"id": where, "item_id": item, "golden": False, "place": place, "state": "open"}
        connection.execute(insert(tasks).values(lacking=settings.wanted, **row))
        ask = {"id": question, "task_id": where, "place": 0, "class_id": name}
        connection.execute(insert(questions).values(**ask))
        connection.execute(insert(found).values(task_id=where, rater_id=rater, found_at=now))
    held_now = {"claimed_at": now, "lease_until": now, "submitted_at": now, "version": 1}
    connection.execute(insert(assignments).values(task_id=where, rater_id=rater, **held_now))
    connection.execute(insert(answers).values(question_id=question, rater_id=rater, answer=2))
    settle_task(connection, settings, where)


def matching(connection: Connection, words: str, most: int = 12) -> list[tuple[int, str, str]]:
    """(class, name, description) of the classes whose title has these words: at its beginning first.

    Args:
        most: so many at most.
    """
    wanted = words.strip().lower()
    if not wanted:
        return []
    rows = connection.execute(select(classes.c.id, classes.c.title, classes.c.description)).all()
    hits = [row for row in rows if wanted in row.title.lower()]
    hits.sort(key=lambda row: (_rank(row.title.lower(), wanted), len(row.title), row.title))
    return [(row.id, row.title, row.description) for row in hits[:most]]


def called(connection: Connection, name: str) -> int | None:
    """The class of this name or title, whatever its case; None where there is none, or more than one."""
    wanted = name.strip().lower()
    rows = connection.execute(select(classes.c.id, classes.c.name, classes.c.title)).all()
    for words in ([(row.name,) for row in rows], [row.title.split(", ") for row in rows]):
        own = zip(rows, words, strict=True)
        hits = [row.id for row, each in own if wanted in {word.lower() for word in each}]
        if len(hits) == 1:
            return int(hits[0])
    return None


def exist(connection: Connection, which: Sequence[int]) -> bool:
    """Whether all of these are classes."""
    if not which:
        return True
    known = select(func.count()).select_from(classes).where(classes.c.id.in_(set(which)))
    return connection.scalar(known) == len(set(which))


def _rank(title: str, wanted: str) -> int:
    if title.startswith(wanted):
        return 0
    return 1 if f" {wanted}" in title else 2


def _next(connection: Connection, column: Column[int]) -> int:
    highest = connection.scalar(select(func.max(column)))
    return 0 if highest is None else int(highest) + 1
