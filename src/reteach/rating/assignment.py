"""Giving out tasks and taking in answers: every rule about who rates what, and when it counts.

A rater holds up to two tasks: the one on the screen and the next one, whose image loads meanwhile.
A held task is leased; when the lease ends it may go to someone else, and an answer that still comes
is taken all the same.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import (
    BindParameter,
    Connection,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from .raters import settling
from .schema import answers, assignments, items, questions, raters, tasks
from .store import Store

HOLD = 2
MANY = 25  # rounds of unreadable images after which it is not the images' fault
_SECRET = random.SystemRandom()  # nobody can foresee which task is golden
Outcome = Literal["stored", "repeated", "conflict"]


class NotYours(Exception):
    """The rater was never given this task."""


class NoImages(Exception):
    """Hardly any image can be shown."""


@dataclass(frozen=True)
class Held:
    """A task in a rater's hands."""

    task: int
    item: int
    name: str
    """The item's name."""
    until: float
    """When the lease ends."""
    shown: bool


class Flow:
    """The rules over one store.

    Args:
        check: item name -> why its image cannot be shown, or None.
        lease: seconds for which a task is kept for a rater.
    """

    def __init__(
        self,
        store: Store,
        check: Callable[[str], str | None] = lambda item: None,
        lease: float = 600.0,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = _SECRET.random,
    ) -> None:
        self.store, self.check, self.lease = store, check, lease
        self.clock, self.chance = clock, chance

    def hand(self, rater: int) -> list[Held]:
        """The task to show now and the one after it, if there are so many; empty if all is done.

        Tasks whose image cannot be shown are set aside on the way.

        Raises:
            NoImages: many in a row cannot be shown: something is wrong with all of them.
        """
        for _ in range(MANY):
            held = self._held(rater)
            broken = [(each.item, why) for each in held if (why := self.check(each.name))]
            if not broken:
                return held
            for item, why in broken:
                self.set_aside(item, why)
        raise NoImages

    def submit(self, rater: int, task: int, given: Mapping[int, int], version: int) -> Outcome:
        """Take the answers to a task; they are durable when this returns.

        Args:
            given: question -> answer, for every question of the task.
            version: 1 for a first answer, one more for each change. An answer that is there already
                is *repeated* if it is equal, else in *conflict*: the stored one stays.

        Raises:
            NotYours: the rater never held the task.
            ValueError: other questions than the task's, or no such answer.
        """
        if not set(given.values()) <= {0, 1, 2}:
            raise ValueError("answers are 0, 1 or 2")
        here = {"this_task": task, "this_rater": rater}
        with self.store.write() as connection:
            row = connection.execute(_ASSIGNMENT, here).first()
            if row is None:
                raise NotYours
            stored = {row.id: row.answer for row in connection.execute(_ANSWERS, here)}
            if set(given) != set(stored):
                raise ValueError("answer every question of the task")
            if version <= row.version:
                return "repeated" if stored == dict(given) else "conflict"
            if version > row.version + 1:
                raise ValueError("versions count up by one")
            if row.version:
                connection.execute(_FORGET, here)
            rows = [{"question_id": q, "rater_id": rater, "answer": a} for q, a in given.items()]
            connection.execute(insert(answers), rows)
            now = self.clock()
            seconds = max(0.0, now - (now if row.shown_at is None else row.shown_at))
            connection.execute(
                _SUBMIT, here | {"new_version": version, "now": now, "took": seconds}
            )
            connection.execute(_SETTLE, here | {"wanted": self.store.settings.wanted})
            self._claim(connection, rater, now)
        return "stored"

    def pause(self, rater: int) -> None:
        """Give back what the rater holds."""
        with self.store.write() as connection:
            connection.execute(
                update(assignments)
                .where(assignments.c.rater_id == rater, assignments.c.submitted_at.is_(None))
                .values(lease_until=self.clock(), shown_at=None)
            )

    def set_aside(self, item: int, why: str) -> None:
        """Give out no more tasks about an item, and tell the owner why."""
        with self.store.write() as connection:
            connection.execute(update(items).where(items.c.id == item).values(missing=why[:500]))
            connection.execute(
                update(tasks)
                .where(tasks.c.item_id == item, tasks.c.state == "open")
                .values(state="aside")
            )

    def put_back(self, item: int | None = None) -> None:
        """The image, or all of them, can be shown again: give out the tasks."""
        image = items.c.missing.is_not(None) if item is None else items.c.id == item
        with self.store.write() as connection:
            theirs = tasks.c.item_id.in_(select(items.c.id).where(image))
            aside = and_(theirs, tasks.c.state == "aside")
            connection.execute(update(tasks).where(aside).values(state="open"))
            connection.execute(settling(theirs), {"wanted": self.store.settings.wanted})
            connection.execute(update(items).where(image).values(missing=None))

    def _held(self, rater: int) -> list[Held]:
        """What the rater holds, topped up; the first is being shown."""
        now = self.clock()
        with self.store.read() as connection:
            held = _own(connection, rater, now)
        fresh = all(each.until - now > self.lease / 2 for each in held)
        if len(held) == HOLD and fresh and held[0].shown:
            return held
        with self.store.write() as connection:
            self._claim(connection, rater, now)
            return _own(connection, rater, now)

    def _claim(self, connection: Connection, rater: int, now: float) -> None:
        """Renew the rater's leases, top them up, and mark the first as shown."""
        if connection.scalar(_STATE, {"this_rater": rater}) != "active":
            return
        mine = [each.task for each in _own(connection, rater, now)]
        until = now + self.lease
        while len(mine) < HOLD and (task := self._pick(connection, rater, now)) is not None:
            here = {"this_task": task, "this_rater": rater}
            values = {"at": now + 1e-5 * len(mine), "until": until}
            if not connection.execute(_CLAIM_AGAIN, here | values).rowcount:
                connection.execute(_CLAIM, here | values)
            mine.append(task)
        if mine:
            connection.execute(
                _RENEW,
                {"this_rater": rater, "held": mine, "first": mine[0], "until": until, "now": now},
            )

    def _pick(self, connection: Connection, rater: int, now: float) -> int | None:
        """The next task for a rater; golden ones turn up at the chosen rate, and in the end those that
        still lack answers."""
        settings = self.store.settings
        values = {"this_rater": rater, "now": now, "wanted": settings.wanted}
        if settings.gold_rate > 0 and self.chance() < settings.gold_rate:
            task = connection.scalar(_FREE_GOLDEN, values)
            if task is not None or settings.gold_rate >= 1:
                return task
        task = connection.scalar(_FREE, values)
        if task is None and settings.gold_rate > 0:
            return connection.scalar(_LACKING_GOLDEN, values)
        return task


def _own(connection: Connection, rater: int, now: float) -> list[Held]:
    """Live leases in the order of claiming."""
    rows = connection.execute(_LEASES, {"this_rater": rater, "now": now})
    return [Held(*row) for row in rows]


# Statements are built once: building one takes longer than SQLite takes to run it.

_rater: BindParameter[int] = bindparam("this_rater")
_task: BindParameter[int] = bindparam("this_task")
_now: BindParameter[float] = bindparam("now")
_until: BindParameter[float] = bindparam("until")
_mine = and_(assignments.c.task_id == _task, assignments.c.rater_id == _rater)
_asked = select(questions.c.id).where(questions.c.task_id == _task)

_STATE = select(raters.c.state).where(raters.c.id == _rater)
_ASSIGNMENT = select(assignments.c.version, assignments.c.shown_at).where(_mine)
_ANSWERS = (  # every question of the task, and what the rater said
    select(questions.c.id, answers.c.answer)
    .join(
        answers,
        and_(answers.c.question_id == questions.c.id, answers.c.rater_id == _rater),
        isouter=True,
    )
    .where(questions.c.task_id == _task)
)
_FORGET = delete(answers).where(answers.c.rater_id == _rater, answers.c.question_id.in_(_asked))
_SUBMIT = (
    update(assignments)
    .where(_mine)
    .values(
        version=bindparam("new_version"),
        submitted_at=func.coalesce(assignments.c.submitted_at, _now),
        seconds=func.coalesce(assignments.c.seconds, bindparam("took")),
    )
)
_SETTLE = settling(tasks.c.id == _task)
_CLAIM_AGAIN = (  # an own lease that had run out
    update(assignments)
    .where(_mine)
    .values(claimed_at=bindparam("at"), lease_until=_until, shown_at=None)
)
_CLAIM = insert(assignments).values(
    task_id=_task, rater_id=_rater, claimed_at=bindparam("at"), lease_until=_until, version=0
)
_RENEW = (
    update(assignments)
    .where(
        assignments.c.rater_id == _rater,
        assignments.c.task_id.in_(bindparam("held", expanding=True)),
    )
    .values(
        lease_until=_until,
        shown_at=case(
            (
                assignments.c.task_id == bindparam("first"),
                func.coalesce(assignments.c.shown_at, _now),
            ),
            else_=assignments.c.shown_at,
        ),
    )
)

_LEASES = (
    select(
        tasks.c.id,
        tasks.c.item_id,
        items.c.name,
        assignments.c.lease_until,
        assignments.c.shown_at.is_not(None),
    )
    .select_from(assignments)
    .join(tasks, assignments.c.task_id == tasks.c.id)
    .join(items, tasks.c.item_id == items.c.id)
    .where(
        assignments.c.rater_id == _rater,
        assignments.c.submitted_at.is_(None),
        assignments.c.lease_until > _now,
        tasks.c.state == "open",
    )
    .order_by(assignments.c.claimed_at)
    .limit(HOLD)
)

# The first open task that the rater has not, and that lacks raters; golden ones always do.
_busy = or_(assignments.c.submitted_at.is_not(None), assignments.c.lease_until > _now)
_free = (
    select(tasks.c.id)
    .where(
        tasks.c.state == "open",
        ~exists().where(
            assignments.c.task_id == tasks.c.id, assignments.c.rater_id == _rater, _busy
        ),
    )
    .order_by(tasks.c.place)
    .limit(1)
)
_taken = (
    select(func.count())
    .select_from(assignments.join(raters, assignments.c.rater_id == raters.c.id))
    .where(
        assignments.c.task_id == tasks.c.id,
        assignments.c.rater_id != _rater,
        raters.c.state != "excluded",
        _busy,
    )
    .correlate(tasks)
    .scalar_subquery()
)
_FREE_GOLDEN = _free.where(tasks.c.golden.is_(True))
_LACKING_GOLDEN = _FREE_GOLDEN.where(_taken < bindparam("wanted"))
_FREE = _free.where(tasks.c.golden.is_(False), _taken < bindparam("wanted"))
