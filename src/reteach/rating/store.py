"""A rating store: where it is, how it is opened, and its two kinds of transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from ..errors import StoreFailed, UserError, missing_extra
from ..files import make_folder, no_room, out_of_space
from . import migrations, schema
from .schema import Kind

CONNECTIONS = 16


@dataclass(frozen=True)
class Settings:
    """What was decided when the store was built."""

    id: str
    """Random; tells the cookies of two stores on one host apart."""
    kind: Kind
    wanted: int
    """Answers to each question, or to those on which raters differ."""
    gold_rate: float
    """The share of golden tasks among those that a rater sees."""
    agree: int | None = None
    """Answers that settle a question on which raters agree; None: ``wanted``."""


class Store:
    """An open rating store; safe to share between threads."""

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine = engine
        self.where = where
        self._settings: Settings | None = None
        self._queue = threading.Lock()

    @property
    def settings(self) -> Settings:
        """Read once: they never change."""
        if self._settings is None:
            with self.read() as connection:
                rows = connection.execute(select(schema.store.c.name, schema.store.c.value))
                found = {str(name): str(value) for name, value in rows}
            missing = next(
                (n for n in ("id", "kind", "wanted", "gold_rate") if n not in found), None
            )
            if missing is not None:
                raise UserError(f"{self.where} has no tasks ({missing!r} is not set)")
            with self.understood():
                self._settings = Settings(
                    found["id"],
                    cast(Kind, _one_of(found["kind"], get_args(Kind))),
                    int(found["wanted"]),
                    float(found["gold_rate"]),
                    int(found["agree"]) if "agree" in found else None,
                )
        return self._settings

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the store."""
        with (
            store_errors(self.where),
            self.engine.connect() as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that no other writer overlaps; durable once the context is left.

        Writers queue up: giving out a task counts who else holds it, and must not be overtaken.
        """
        # SQLite's own waiting is sleeping ever longer, and unfair
        with store_errors(self.where), self._queue, self.engine.connect() as plain:
            connection = plain.execution_options(reteach_write=True)
            with connection.begin():
                lock = select(schema.store.c.value).where(schema.store.c.name == "version")
                connection.execute(lock.with_for_update())  # SQLite: BEGIN IMMEDIATE did it
                yield connection

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Cells that are not what reteach writes, in a store that something else has changed or damaged.

        Raises:
            UserError: there are some.
        """
        try:
            yield
        except UserError:
            raise
        except (TypeError, ValueError, LookupError, OverflowError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:150]
            raise UserError(f"{self.where} is damaged ({reason}): put a copy of it back") from None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


@contextmanager
def store_errors(where: str, what: str = "rating store") -> Iterator[None]:
    """What a database raises, as the error of a user.

    Raises:
        StoreFailed: it raised something.
    """
    try:
        yield
    except (SQLAlchemyError, UnicodeDecodeError) as error:
        said = getattr(error, "orig", None) or error
        reason = " ".join(str(said).split())[:200]
        full = out_of_space(said)
        if not full and "disk I/O error" in reason and no_room(Path(where)):
            reason, full = (
                "the disk is full",
                True,
            )  # SQLite does not say so of the files beside its own
        raise StoreFailed(f"{what} {where}", reason, full) from None


def _one_of(word: str, words: Sequence[str]) -> str:
    if word not in words:
        raise ValueError(f"{word[:60]!r} is none of {', '.join(words)}")
    return word


def one_store(first: str | None, second: str | None) -> str:
    """The store that was named in one of two ways.

    Raises:
        UserError: it was named in both, or in none.
    """
    if (first is None) == (second is None):
        raise UserError(
            "name the rating store once: a file, or --store postgresql://user@host/name"
        )
    return first or second or ""


def open_store(where: str | Path, mode: Literal["old", "new"] = "old") -> Store:
    """Open a SQLite file or a ``postgresql://`` address, and bring its format up to date.

    Args:
        mode: *old* opens a store that exists; *new* makes an empty one.

    Raises:
        UserError: it does not exist, cannot be reached, is no store or one of a newer version; or,
            for a new one, that something is there already.
    """
    url, shown = address(str(where))
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        if mode == "old" and not path.is_file():
            raise UserError(
                f"rating store {shown} does not exist: make one with 'reteach relabel tasks'"
            )
        if mode == "new":
            make_folder(path.parent)
    store = Store(connect(url), shown)
    try:
        with store_errors(shown), store.engine.connect() as plain:
            connection = plain.execution_options(reteach_write=True)
            with connection.begin():
                if mode == "new":
                    _refuse_used(connection, shown)
                elif migrations.version(connection) == 0:
                    raise UserError(f"{shown} is not a rating store")
                migrations.upgrade(connection, shown)
    except UserError:
        store.close()
        raise
    return store


def _refuse_used(connection: Connection, shown: str) -> None:
    """A place for a new store has no tables of ours, or those of one that was never filled."""
    tables = set(inspect(connection).get_table_names()) & set(schema.metadata.tables)
    if not tables:
        return
    unfinished = migrations.version(connection) > 0 and not connection.scalar(
        select(schema.store.c.value).where(schema.store.c.name == "id")
    )
    if not unfinished:
        raise UserError(
            f"{shown} holds ratings already (table {min(tables)!r}): name another place, "
            "or remove it if its answers are not needed"
        )


def address(where: str, what: str = "rating store") -> tuple[URL, str]:
    """The address of a store, and how it may be shown: without a password.

    Args:
        what: the store, in errors.

    Raises:
        UserError: it is neither a file nor an address of PostgreSQL.
    """
    if "://" not in where:
        return URL.create("sqlite", database=where), where
    try:
        url = make_url(where)
    except ArgumentError:
        raise UserError(f"the {what} should be a file or postgresql://user@host/name") from None
    if url.get_backend_name() not in ("postgresql", "sqlite"):
        raise UserError(
            f"a {what} is a SQLite file or a postgresql:// address, not {url.get_backend_name()}://"
        )
    shown = url.render_as_string(hide_password=True)
    return (
        url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
    ), shown


def connect(url: URL) -> Engine:
    """The engine of a store, durable once a transaction is committed.

    Transactions with the execution option ``reteach_write`` take SQLite's lock when they begin.

    Raises:
        UserError: the driver of PostgreSQL is not installed.
    """
    try:
        engine = create_engine(url, pool_size=CONNECTIONS, max_overflow=2 * CONNECTIONS)
    except (ImportError, NoSuchModuleError):
        raise missing_extra("a store in PostgreSQL", "psycopg", "postgresql") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says
    for pragma in (
        "busy_timeout = 30000",
        "journal_mode = WAL",
        "synchronous = FULL",  # NORMAL may lose the last commits when the power fails
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("reteach_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
