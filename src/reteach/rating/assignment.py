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

from .beside import Beside, propose, remark
from .schema import answers, assignments, items, questions, raters, tasks
from .settle import open_questions, settle, settle_task
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

    def submit(
        self,
        rater: int,
        task: int,
        given: Mapping[int, int],
        version: int,
        also: Beside | None = None,
    ) -> Outcome:
        """Take the answers to a task; they are durable when this returns.

        Args:
            given: question -> answer, for every question that was asked: those of the task, without the
                ones that were settled when it was given out.
            version: 1 for a first answer, one more for each change. An answer that is there already
                is *repeated* if it is equal, else in *conflict*: the stored one stays.
            also: what the rater says beside the answers.

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
            asked = None if row.asked is None else set(map(int, row.asked.split(",")))
            stored = {
                q.id: q.answer
                for q in connection.execute(_ANSWERS, here)
                if asked is None or q.id in asked
            }
            if set(given) != set(stored):
                raise ValueError("answer every question that was asked")
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
            also = also or Beside()
            active = None if also.active is None else min(max(also.active, 0.0), seconds)
            times = {"new_version": version, "now": now, "took": seconds, "used": active}
            connection.execute(_SUBMIT, here | times)
            remark(connection, rater, task, also, now)
            for name in also.others:
                propose(connection, self.store.settings, rater, task, name, now)
            settle_task(connection, self.store.settings, task)
            self._claim(connection, rater, now)
        return "stored"

    def skip(self, rater: int, task: int, also: Beside) -> None:
        """The rater gives no answer to a task, and does not get it again; others do.

        Raises:
            NotYours: the rater does not hold the task, or has answered it.
        """
        here = {"this_task": task, "this_rater": rater}
        with self.store.write() as connection:
            row = connection.execute(_ASSIGNMENT, here).first()
            if row is None or row.version:
                raise NotYours
            now = self.clock()
            connection.execute(_SKIP, here | {"now": now})
            remark(connection, rater, task, also, now)
            for name in also.others:
                propose(connection, self.store.settings, rater, task, name, now)
            self._claim(connection, rater, now)

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
            settle(connection, self.store.settings, theirs)
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
            values: dict[str, float | str | None]
            values = {"at": now + 1e-5 * len(mine), "until": until}
            values["asked"] = self._asked(connection, task)
            if not connection.execute(_CLAIM_AGAIN, here | values).rowcount:
                connection.execute(_CLAIM, here | values)
            mine.append(task)
        if mine and self.store.settings.agree is not None:  # answers came while it was waiting
            asked = self._asked(connection, mine[0])
            here = {"this_task": mine[0], "this_rater": rater}
            connection.execute(_ASK_LESS, here | {"asked": asked})
        if mine:
            connection.execute(
                _RENEW,
                {"this_rater": rater, "held": mine, "first": mine[0], "until": until, "now": now},
            )

    def _pick(self, connection: Connection, rater: int, now: float) -> int | None:
        """The next task for a rater; golden ones turn up at the chosen rate, and in the end those that
        still lack answers."""
        settings = self.store.settings
        values = {"this_rater": rater, "now": now}
        if settings.gold_rate > 0 and self.chance() < settings.gold_rate:
            task = connection.scalar(_FREE_GOLDEN, values)
            if task is not None or settings.gold_rate >= 1:
                return task
        task = connection.scalar(_FREE, values)
        if task is None and settings.gold_rate > 0:
            return connection.scalar(_LACKING_GOLDEN, values)
        return task

    def _asked(self, connection: Connection, task: int) -> str | None:
        """The questions of a task that are still open, None where all are, and in golden tasks."""
        settings = self.store.settings
        if settings.agree is None or connection.scalar(_IS_GOLDEN, {"this_task": task}):
            return None
        open_ = open_questions(connection, settings, task)
        if not open_ or len(open_) == connection.scalar(_HOW_MANY, {"this_task": task}):
            return None
        return ",".join(map(str, open_))


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
_IS_GOLDEN = select(tasks.c.golden).where(tasks.c.id == _task)
_HOW_MANY = select(func.count()).select_from(questions).where(questions.c.task_id == _task)
_ASSIGNMENT = select(
    assignments.c.version, assignments.c.shown_at, assignments.c.asked, assignments.c.seconds
).where(_mine)
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
        active=func.coalesce(assignments.c.active, bindparam("used")),
        skipped_at=None,
    )
)
_SKIP = update(assignments).where(_mine).values(skipped_at=_now, lease_until=_now, shown_at=None)
_CLAIM_AGAIN = (  # an own lease that had run out
    update(assignments)
    .where(_mine)
    .values(claimed_at=bindparam("at"), lease_until=_until, shown_at=None, asked=bindparam("asked"))
)
_ASK_LESS = (
    update(assignments)
    .where(_mine, assignments.c.shown_at.is_(None))
    .values(asked=bindparam("asked"))
)
_CLAIM = insert(assignments).values(
    task_id=_task,
    rater_id=_rater,
    claimed_at=bindparam("at"),
    lease_until=_until,
    version=0,
    asked=bindparam("asked"),
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

_held = and_(assignments.c.submitted_at.is_(None), assignments.c.lease_until > _now)
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
        _held,
        assignments.c.skipped_at.is_(None),
        tasks.c.state == "open",
    )
    .order_by(assignments.c.claimed_at)
    .limit(HOLD)
)

# The first open task that the rater has not, and that lacks raters; golden ones always do.
_busy = or_(assignments.c.submitted_at.is_not(None), assignments.c.skipped_at.is_not(None), _held)
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
_at_work = (  # others who hold it now
    select(func.count())
    .select_from(assignments.join(raters, assignments.c.rater_id == raters.c.id))
    .where(
        assignments.c.task_id == tasks.c.id,
        assignments.c.rater_id != _rater,
        raters.c.state != "excluded",
        assignments.c.skipped_at.is_(None),
        _held,
    )
    .correlate(tasks)
    .scalar_subquery()
)
_FREE_GOLDEN = _free.where(tasks.c.golden.is_(True))
_LACKING_GOLDEN = _FREE_GOLDEN.where(_at_work < tasks.c.lacking)
_FREE = _free.where(tasks.c.golden.is_(False), _at_work < tasks.c.lacking)
