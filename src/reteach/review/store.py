"""Decisions of reviewers, in SQLite or PostgreSQL: a log that only grows, durable before a call returns.

Everything that people say is an action: a verdict on some images, the undoing of an earlier one, a tag, a
saved view. Its number counts up without gaps in the order of commitment, so that what another process has
added is all that is numbered higher than the last one seen. A request that is sent again (after a lost
answer) finds its action there, and adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    Column,
    Connection,
    Double,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
)

from ..errors import UserError
from ..labels import Rows
from ..rating.store import address, connect, store_errors

FORMAT = 1
CHUNK = 20_000
WHAT = "review store"
NO_ROWS: Rows = np.zeros(0, np.int64)

_metadata = MetaData()
_about = Table(  # the version of the format, and which items the rows are
    "review",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
_actions = Table(
    "review_actions",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("reviewer", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("at", Double, nullable=False),  # seconds since 1970
    Column("kind", Text, nullable=False),
    Column("label", Text),  # a class, or the name of a tag or view
    Column("target", Integer),  # the action that is undone or done again
    Column("note", Text),  # of a view: the query
    UniqueConstraint("reviewer", "request"),
)
_rows = Table(
    "review_rows",
    _metadata,
    Column("action", Integer, ForeignKey("review_actions.id"), primary_key=True),
    Column("row", Integer, primary_key=True),
)


@final
@dataclass(frozen=True, eq=False)
class Action:
    """Something that a reviewer did.

    Args:
        id: counts up from 1 in the order of commitment.
        at: seconds since 1970.
        kind: of a verdict, or undo, redo, tag, untag, view.
        label: a class, or the name of a tag or view.
        target: the action that is undone, or done again.
        note: of a view that is no selection: the query as JSON.
        rows: (M,) the images, ascending.
    """

    id: int
    reviewer: str
    request: str
    at: float
    kind: str
    label: str | None = None
    target: int | None = None
    note: str | None = None
    rows: Rows = field(default_factory=lambda: NO_ROWS)


@final
class ReviewStore:
    """An open store of decisions; safe to share between threads."""

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine = engine
        self.where = where
        self._queue = Lock()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that no other writer overlaps; durable once the context is left."""
        with store_errors(self.where, WHAT), self._queue, self.engine.connect() as plain:
            connection = plain.execution_options(reteach_write=True)
            with connection.begin():
                lock = select(_about.c.value).where(_about.c.name == "version")
                connection.execute(lock.with_for_update())  # SQLite: BEGIN IMMEDIATE did it
                yield connection

    def since(self, last: int, connection: Connection | None = None) -> list[Action]:
        """The actions that are numbered higher than ``last``, in order."""
        if connection is not None:
            return _since(connection, last)
        with store_errors(self.where, WHAT), self.engine.connect() as own, own.begin():
            return _since(own, last)

    def newest(self) -> int:
        """The number of the newest action; 0: there is none."""
        with store_errors(self.where, WHAT), self.engine.connect() as connection:
            return int(connection.scalar(select(func.max(_actions.c.id))) or 0)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def request_of(connection: Connection, reviewer: str, request: str) -> int | None:
    """The number of the action that a request has led to; None: it is new."""
    same = (_actions.c.reviewer == reviewer) & (_actions.c.request == request)
    return connection.scalar(select(_actions.c.id).where(same))


def append(connection: Connection, action: Action) -> None:
    """Add an action, in a transaction of :meth:`ReviewStore.write`."""
    values = {c.name: getattr(action, c.name) for c in _actions.columns}
    connection.execute(insert(_actions), values)
    rows = action.rows.tolist()
    for start in range(0, len(rows), CHUNK):
        some = [{"action": action.id, "row": row} for row in rows[start : start + CHUNK]]
        connection.execute(insert(_rows), some)


def _since(connection: Connection, last: int) -> list[Action]:
    rows = _rows_of(connection, last)
    query = select(_actions).where(_actions.c.id > last).order_by(_actions.c.id)
    return [
        Action(**row._asdict(), rows=rows.get(row.id, NO_ROWS)) for row in connection.execute(query)
    ]


def _rows_of(connection: Connection, last: int) -> dict[int, Rows]:
    """Action -> its rows, of the actions after ``last``; read in parts, two numbers for each row."""
    query = select(_rows.c.action, _rows.c.row).where(_rows.c.action > last)
    query = query.order_by(_rows.c.action, _rows.c.row)
    found = connection.execute(query, execution_options={"yield_per": CHUNK})
    parts = [np.array(part, np.int64).reshape(-1, 2) for part in _tuples(found)]
    pairs: NDArray[np.int64] = np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)
    ids, starts = np.unique(pairs[:, 0], return_index=True)
    return dict(zip(ids.tolist(), np.split(pairs[:, 1], starts[1:]), strict=False))


def _tuples(found: object) -> Iterator[list[tuple[int, int]]]:
    for part in found.partitions():  # type: ignore[attr-defined]
        yield [tuple(row) for row in part]


def open_review_store(where: str | Path, identity: str) -> ReviewStore:
    """Open the decisions on the items that ``identity`` stands for; an empty place becomes a new store.

    Args:
        where: a SQLite file or a ``postgresql://`` address.

    Raises:
        UserError: it cannot be reached, is something else, is of a newer version, or holds the decisions
            on other items.
    """
    url, shown = address(str(where), WHAT)
    store = ReviewStore(connect(url), shown)
    try:
        with store_errors(shown, WHAT), store.engine.connect() as plain:
            connection = plain.execution_options(reteach_write=True)
            with connection.begin():
                _prepare(connection, shown, identity)
    except UserError:
        store.close()
        raise
    return store


def _prepare(connection: Connection, shown: str, identity: str) -> None:
    tables = set(inspect(connection).get_table_names())
    if _about.name not in tables:
        if connection.dialect.name == "sqlite" and tables:
            raise UserError(f"{shown} is no {WHAT}: it holds the table {min(tables)!r}")
        _metadata.create_all(connection)
        connection.execute(
            insert(_about),
            [{"name": "version", "value": str(FORMAT)}, {"name": "items", "value": identity}],
        )
    about = {str(n): str(v) for n, v in connection.execute(select(_about.c.name, _about.c.value))}
    version = about.get("version", "")
    if not version.isdigit():
        raise UserError(f"{shown} is no {WHAT} (its table 'review' names no version)")
    if int(version) > FORMAT:
        raise UserError(
            f"{shown} is a {WHAT} of version {version}, this reteach knows versions up to {FORMAT}: "
            "update reteach"
        )
    if about.get("items") != identity:
        raise UserError(
            f"{shown} holds the decisions of another review (of other images or labels): name another --store"
        )
