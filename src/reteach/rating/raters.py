"""Who rates: names, links, and whether they may go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, bindparam, func, insert, select, update

from ..errors import UserError
from ..web.security import digest, new_token
from .schema import RaterState, assignments, raters, tasks
from .settle import settle
from .store import Store


@dataclass(frozen=True)
class Rater:
    """A person with a link."""

    id: int
    name: str
    state: RaterState


def add_raters(store: Store, names: Iterable[str]) -> dict[str, str]:
    """New raters, and the secret of each one's link, which is kept nowhere.

    Raises:
        UserError: an empty name, or one that is taken.
    """
    tokens: dict[str, str] = {}
    with store.write() as connection:
        known = {str(name) for name in connection.scalars(select(raters.c.name))}
        first = (connection.scalar(select(func.max(raters.c.id))) or 0) + 1
        for name in (name.strip() for name in names):
            if not name or len(name) > 80 or not name.isprintable():
                raise UserError(f"a rater's name has 1 to 80 printable characters, got {name!r}")
            if name in known | set(tokens):
                raise UserError(f"there is a rater {name!r} already")
            tokens[name] = new_token()
        rows = [
            {"id": first + i, "name": name, "token_hash": digest(token), "state": "active"}
            for i, (name, token) in enumerate(tokens.items())
        ]
        if rows:
            connection.execute(insert(raters), rows)
    return tokens


def new_link(store: Store, rater: int) -> str:
    """A fresh secret for a rater; the old link ends."""
    token = new_token()
    with store.write() as connection:
        connection.execute(
            update(raters).where(raters.c.id == rater).values(token_hash=digest(token))
        )
    return token


def by_token(connection: Connection, token: str) -> Rater | None:
    """Whose link this is."""
    row = connection.execute(_BY_TOKEN, {"digest": digest(token)}).first()
    return None if row is None else Rater(row.id, row.name, cast(RaterState, row.state))


def set_state(store: Store, rater: int, state: RaterState, now: float) -> None:
    """Pause, exclude or readmit a rater.

    A paused rater gets no new tasks. An excluded one's answers count no more: their tasks are given
    out again. Both lose the tasks that they hold.
    """
    with store.write() as connection:
        connection.execute(update(raters).where(raters.c.id == rater).values(state=state))
        if state != "active":
            connection.execute(
                update(assignments)
                .where(assignments.c.rater_id == rater, assignments.c.submitted_at.is_(None))
                .values(lease_until=now, shown_at=None)
            )
        theirs = select(assignments.c.task_id).where(
            assignments.c.rater_id == rater, assignments.c.submitted_at.is_not(None)
        )
        settle(connection, store.settings, tasks.c.id.in_(theirs))


# built once: it takes longer than SQLite takes to run it
_BY_TOKEN = select(raters.c.id, raters.c.name, raters.c.state).where(
    raters.c.token_hash == bindparam("digest")
)
