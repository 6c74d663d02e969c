"""Parquet files that somebody else wrote, or that were damaged: one way to read them, one line of error.

Arrow answers bytes that it did not expect with a dozen kinds of exception, some of them only when a cell is
looked at; so the whole table is looked at once. Pages of tables that reteach writes carry checksums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from .errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

CHECKED = {"write_page_checksum": True}
"""What every writer of ours is given."""


@final
class BadParquet(UserError):
    """A file is not what it should be.

    Args:
        reason: what Arrow says.
    """

    def __init__(self, path: Path, otherwise: str, reason: str) -> None:
        super().__init__(f"{path}: {otherwise} ({reason})")
        self.reason = reason


@contextmanager
def parquet_errors(path: Path, otherwise: str = "not a readable Parquet file") -> Iterator[None]:
    """What Arrow raises about a file, as the error of a user.

    Args:
        otherwise: what the file is not.
    """
    import pyarrow as pa

    try:
        yield
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise BadParquet(path, otherwise, one_line(error)) from None


def one_line(error: BaseException) -> str:
    """The beginning of what an error says."""
    said = " ".join(str(error).split())
    return said[:120] if said else type(error).__name__


def read_schema(path: Path, otherwise: str = "not a readable Parquet file") -> pa.Schema:
    """The schema of a file; its metadata are text.

    Raises:
        UserError: there is none.
    """
    import pyarrow.parquet as pq

    with parquet_errors(path, otherwise):
        return _text(pq.read_schema(path))


def _text(schema: pa.Schema) -> pa.Schema:
    """A schema whose metadata are text.

    Raises:
        UnicodeDecodeError: they are not.
    """
    for word in [*(schema.metadata or {}).keys(), *(schema.metadata or {}).values()]:
        word.decode()
    return schema


def read_columns(
    path: Path,
    columns: Sequence[str] | None = None,
    otherwise: str = "not a readable Parquet file",
    **more: Any,
) -> pa.Table:
    """A table, or some columns of it, all cells of which are what their type says.

    Raises:
        UserError: it cannot be read.
    """
    import pyarrow.parquet as pq

    with parquet_errors(path, otherwise):
        table = pq.read_table(
            path,
            columns=None if columns is None else list(columns),
            page_checksum_verification=True,
            **more,
        )
        table.validate(full=True)
        return table


@contextmanager
def open_parquet(
    path: Path, otherwise: str = "not a readable Parquet file", **more: Any
) -> Iterator[pq.ParquetFile]:
    """A file whose row groups are read one by one, checked against their checksums; its metadata are text.

    Raises:
        UserError: it cannot be read, now or while it is open.
    """
    import pyarrow.parquet as pq

    with (
        parquet_errors(path, otherwise),
        pq.ParquetFile(path, page_checksum_verification=True, **more) as file,
    ):
        _text(file.schema_arrow)
        yield file
