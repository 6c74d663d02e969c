"""A private DuckDB database for one job: it lives in memory, spills to disk, and leaves nothing behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ...errors import UserError
from ...files import make_folder
from ...scores.columns import one_line

Row = tuple[Any, ...]
_BATCH = 2**17


@dataclass(frozen=True)
class Limits:
    """What a job may use."""

    memory_mb: int = 512
    """DuckDB's own memory; what does not fit goes to a temporary folder beside the output."""
    threads: int | None = None
    """By default one per core."""


@final
class Database:
    """A connection. ``error`` is what statements raise; see :func:`database`."""

    def __init__(self, connection: Any, error: type[Exception]) -> None:
        self._connection = connection
        self.error = error

    def run(self, sql: str, files: Iterable[Path] | None = None) -> list[Row]:
        """All rows of a statement; ``$files`` in it stands for the list of ``files``."""
        return list(self._connection.execute(sql, *_parameters(files)).fetchall())

    def rows(self, sql: str, files: Iterable[Path] | None = None) -> Iterator[Row]:
        """The same for many rows, which are not held; run nothing else before the last one."""
        asked = self._connection.execute(sql, *_parameters(files))
        while batch := asked.fetchmany(_BATCH):
            yield from batch

    def replace(self, table: str, query: str) -> None:
        """Put the result of a query, which may read ``table``, in its place."""
        self.run(f"create table fresh as {query}")
        self.run(f"drop table {table}")
        self.run(f"alter table fresh rename to {table}")

    def count(self, table: str) -> int:
        """Rows of a table."""
        return int(self.run(f"select count(*) from {table}")[0][0])

    def give(self, name: str, columns: dict[str, Any]) -> None:
        """Make columns (Arrow or NumPy arrays, lists) readable as the view ``name``."""
        import pyarrow as pa

        self._connection.register(name, pa.table(columns))


@contextmanager
def database(what: str, limits: Limits, beside: Path) -> Iterator[Database]:
    """Open one that spills into a temporary folder in ``beside``.

    Raises:
        UserError: ``what`` (the job, for messages) failed in it.
    """
    import duckdb  # 0.1 s, and most commands need none of it

    make_folder(beside)
    with tempfile.TemporaryDirectory(prefix=".spill-", dir=beside) as folder:
        settings: dict[str, Any] = {
            "memory_limit": f"{limits.memory_mb}MB",
            "temp_directory": folder,
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        if limits.threads is not None:
            settings["threads"] = limits.threads
        connection: Any = duckdb.connect(config=settings)
        try:
            opened = Database(connection, duckdb.Error)
            opened.run("set enable_progress_bar = false")
            yield opened
        except duckdb.OutOfMemoryException as error:
            raise UserError(
                f"{what} needs more than {limits.memory_mb} MB of memory, or more disk space "
                f"in {beside} ({one_line(error)})"
            ) from None
        except duckdb.Error as error:
            raise UserError(f"{what} failed: {one_line(error)}") from None
        finally:
            connection.close()


def quoted(text: str) -> str:
    """Text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _parameters(files: Iterable[Path] | None) -> tuple[dict[str, list[str]], ...]:
    return () if files is None else ({"files": [str(file) for file in files]},)
