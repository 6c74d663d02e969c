"""How a store of an older format becomes one of the newest: one step per version.

A step is frozen once it is published: it creates or alters tables in SQL that SQLite and PostgreSQL
both understand, and does not use :mod:`.schema`, which follows the newest version.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sqlalchemy import Connection, inspect

from ..errors import UserError


def _tables(connection: Connection) -> None:
    for statement in _VERSION_1.split(";"):
        if statement.strip():
            connection.exec_driver_sql(statement)


def _gold_sets(connection: Connection) -> None:
    """Whole gold sets. Stores before had gold for asked pairs alone: theirs stay empty."""
    connection.exec_driver_sql(
        "CREATE TABLE gold_sets ("
        "id INTEGER NOT NULL PRIMARY KEY, "
        "item_id INTEGER NOT NULL REFERENCES items (id), "
        "class_id INTEGER REFERENCES classes (id))"
    )


def _second_edition(connection: Connection) -> None:
    """Rulings, remarks, skips, active time, classes that raters found, and what each task lacks."""
    for statement in _VERSION_3.split(";"):
        if statement.strip():
            connection.exec_driver_sql(statement)


STEPS: tuple[Callable[[Connection], None], ...] = (_tables, _gold_sets, _second_edition)
"""Step k turns version k into version k + 1; version 0 is an empty database."""


def version(connection: Connection) -> int:
    """The version of a database's format, 0 if it has no table of ours."""
    if not inspect(connection).has_table("store"):
        return 0
    found = connection.exec_driver_sql("SELECT value FROM store WHERE name = 'version'").scalar()
    return int(str(found)) if re.fullmatch("[0-9]{1,9}", str(found)) else -1


def upgrade(connection: Connection, where: str) -> None:
    """Apply the missing steps; the caller commits.

    Raises:
        UserError: the store is of a newer version, or not a rating store.
    """
    have = version(connection)
    if have < 0:
        raise UserError(f"{where} is not a rating store (its table 'store' names no version)")
    if have > len(STEPS):
        raise UserError(
            f"{where} is a store of version {have}, this reteach knows versions up to "
            f"{len(STEPS)}: update reteach"
        )
    for step in STEPS[have:]:
        step(connection)
    if have < len(STEPS):
        connection.exec_driver_sql("DELETE FROM store WHERE name = 'version'")
        connection.exec_driver_sql(
            f"INSERT INTO store (name, value) VALUES ('version', '{len(STEPS)}')"
        )


_VERSION_1 = """
CREATE TABLE store (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE classes (
    id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    description TEXT NOT NULL
);
CREATE TABLE items (
    id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    original INTEGER REFERENCES classes (id),
    missing TEXT
);
CREATE TABLE examples (
    class_id INTEGER NOT NULL REFERENCES classes (id),
    place INTEGER NOT NULL,
    item_id INTEGER NOT NULL REFERENCES items (id),
    PRIMARY KEY (class_id, place)
);
CREATE TABLE tasks (
    id INTEGER NOT NULL PRIMARY KEY,
    item_id INTEGER NOT NULL REFERENCES items (id),
    golden BOOLEAN NOT NULL,
    place INTEGER NOT NULL,
    state TEXT NOT NULL
);
CREATE INDEX tasks_by_place ON tasks (golden, state, place);
CREATE INDEX tasks_by_item ON tasks (item_id);
CREATE TABLE questions (
    id INTEGER NOT NULL PRIMARY KEY,
    task_id INTEGER NOT NULL REFERENCES tasks (id),
    place SMALLINT NOT NULL,
    class_id INTEGER NOT NULL REFERENCES classes (id),
    gold DOUBLE PRECISION
);
CREATE INDEX questions_by_task ON questions (task_id, place);
CREATE TABLE given (
    task_id INTEGER NOT NULL REFERENCES tasks (id),
    class_id INTEGER NOT NULL REFERENCES classes (id),
    PRIMARY KEY (task_id, class_id)
);
CREATE TABLE predictors (
    task_id INTEGER NOT NULL REFERENCES tasks (id),
    model TEXT NOT NULL,
    labels TEXT NOT NULL,
    PRIMARY KEY (task_id, model, labels)
);
CREATE TABLE raters (
    id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    token_hash TEXT UNIQUE,
    state TEXT NOT NULL
);
CREATE TABLE assignments (
    task_id INTEGER NOT NULL REFERENCES tasks (id),
    rater_id INTEGER NOT NULL REFERENCES raters (id),
    claimed_at DOUBLE PRECISION NOT NULL,
    lease_until DOUBLE PRECISION NOT NULL,
    shown_at DOUBLE PRECISION,
    submitted_at DOUBLE PRECISION,
    seconds DOUBLE PRECISION,
    version INTEGER NOT NULL,
    PRIMARY KEY (task_id, rater_id)
);
CREATE INDEX assignments_by_rater ON assignments (rater_id, submitted_at);
CREATE TABLE answers (
    question_id INTEGER NOT NULL REFERENCES questions (id),
    rater_id INTEGER NOT NULL REFERENCES raters (id),
    answer SMALLINT NOT NULL,
    PRIMARY KEY (question_id, rater_id)
);
"""

_VERSION_3 = """
ALTER TABLE tasks ADD COLUMN lacking INTEGER NOT NULL DEFAULT 0;
UPDATE tasks SET lacking = CAST((SELECT value FROM store WHERE name = 'wanted') AS INTEGER) - (
    SELECT count(*) FROM assignments JOIN raters ON assignments.rater_id = raters.id
    WHERE assignments.task_id = tasks.id
    AND assignments.submitted_at IS NOT NULL
    AND raters.state <> 'excluded'
);
UPDATE tasks SET lacking = 0 WHERE lacking < 0;
ALTER TABLE assignments ADD COLUMN asked TEXT;
ALTER TABLE assignments ADD COLUMN active DOUBLE PRECISION;
ALTER TABLE assignments ADD COLUMN skipped_at DOUBLE PRECISION;
CREATE TABLE rulings (
    question_id INTEGER NOT NULL PRIMARY KEY REFERENCES questions (id),
    answer SMALLINT NOT NULL,
    ruled_by TEXT NOT NULL,
    ruled_at DOUBLE PRECISION NOT NULL
);
CREATE TABLE remarks (
    task_id INTEGER NOT NULL REFERENCES tasks (id),
    rater_id INTEGER NOT NULL REFERENCES raters (id),
    flagged BOOLEAN NOT NULL,
    comment TEXT NOT NULL,
    made_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (task_id, rater_id)
);
CREATE TABLE found (
    task_id INTEGER NOT NULL PRIMARY KEY REFERENCES tasks (id),
    rater_id INTEGER NOT NULL REFERENCES raters (id),
    found_at DOUBLE PRECISION NOT NULL
);
"""
