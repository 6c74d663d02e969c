"""A private DuckDB database for one job: it lives in memory, spills to disk, and leaves nothing behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import make_folder, out_of_space
from ...processes import cores
from ...scores.columns import one_line

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[Any, ...]
_UNORDERED = "partitioned_execution"
"""What DuckDB 2 has to sort a large Parquet file part by part: with one thread, ``copy (... order by ...)``
then wrote the last rows of the first part behind all the others (2.0.1, 10 million rows)."""
LEAST_MB = 64
"""What a statement that is to be frugal begins with."""


@dataclass(frozen=True)
class Limits:
    """What a job may use."""

    memory_mb: int = 512
    """DuckDB's own memory; what does not fit goes to a temporary folder beside the output."""
    threads: int | None = None
    """By default one per core."""


@final
class Database:
    """A connection. ``error`` is what statements raise; ``threads`` may be used. See :func:`database`."""

    def __init__(self, connection: Any, limits: Limits) -> None:
        import duckdb

        self._connection, self._memory = connection, limits.memory_mb
        self.error: type[Exception] = duckdb.Error
        self.threads = limits.threads or cores()

    def run(self, sql: str, files: Iterable[Path] | None = None) -> list[Row]:
        """All rows of a statement; ``$files`` in it stands for the list of ``files``."""
        return list(self._connection.execute(sql, *_parameters(files)).fetchall())

    def frugal(self, sql: str, files: Iterable[Path] | None = None) -> list[Row]:
        """The same in as little memory as it can be done with, not in as much as there is.

        DuckDB fills what it is given before it spills, so more rows take more. Sorting and counting
        need little of it (about the square root of the rows): this begins with little and doubles it
        where it was not enough, so that the statement may be run several times.
        """
        import duckdb

        memory = min(LEAST_MB, self._memory)
        try:
            while True:
                self.run(f"set memory_limit = '{memory}MB'")
                try:
                    return self.run(sql, files)
                except duckdb.OutOfMemoryException:
                    if memory == self._memory:
                        raise
                    memory = min(2 * memory, self._memory)
        finally:
            self.run(f"set memory_limit = '{self._memory}MB'")

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

        arrays = {key: arrow(c) if isinstance(c, np.ndarray) else c for key, c in columns.items()}
        self._connection.register(name, pa.table(arrays))

    def forget(self, name: str) -> None:
        """Let go of what was given."""
        self._connection.unregister(name)


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
            opened = Database(connection, limits)
            opened.run("set enable_progress_bar = false")
            if (_UNORDERED,) in opened.run("select name from duckdb_optimizers()"):
                opened.run(f"set disabled_optimizers = '{_UNORDERED}'")
            yield opened
        except duckdb.OutOfMemoryException as error:
            raise UserError(
                f"{what} needs more than {limits.memory_mb} MB of memory, or more disk space "
                f"in {beside} ({one_line(error)})"
            ) from None
        except duckdb.Error as error:
            if out_of_space(error):
                raise UserError(
                    f"{what} failed: the disk is full; free some space, then run the same again"
                ) from None
            raise UserError(f"{what} failed: {one_line(error)}") from None
        finally:
            connection.close()


def arrow(values: NDArray[Any] | list[str]) -> pa.Array:
    """Numbers or texts for Arrow, whose own ``pa.array`` spends a quarter second on importing pandas."""
    import pyarrow as pa

    if isinstance(values, np.ndarray):
        kind, data = pa.from_numpy_dtype(values.dtype), np.ascontiguousarray(values)
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(data)])
    texts = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.large_string(), len(texts), buffers)


def numpy(values: pa.Array) -> NDArray[Any]:
    """Numbers without empty cells; Arrow's own ``to_numpy`` imports pandas too."""
    return np.from_dlpack(values)


def quoted(text: str) -> str:
    """Text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _parameters(files: Iterable[Path] | None) -> tuple[dict[str, list[str]], ...]:
    return () if files is None else ({"files": [str(file) for file in files]},)
