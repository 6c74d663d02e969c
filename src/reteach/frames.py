"""Tables of Arrow as every data frame takes and gives them: pandas, Polars, pyarrow, DuckDB.

What comes in is anything that speaks Arrow's C stream (Polars, pyarrow, pandas from 2.2 on), the data-frame
interchange protocol, or is a mapping of columns. What goes out is a :class:`Table`. pandas and Polars are
imported where a table is turned into theirs, and only there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, final, runtime_checkable

from .errors import UserError
from .parquet import read_columns
from .unreadable import Unreadable


@runtime_checkable
class ArrowStream(Protocol):
    """What Polars, pyarrow and pandas offer of their tables."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A capsule of the table's stream."""


@runtime_checkable
class Interchange(Protocol):
    """What older data frames offer."""

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any:
        """The frame's interchange object."""


Frame: TypeAlias = ArrowStream | Interchange | Mapping[str, Sequence[Any]]


@final
@dataclass(frozen=True, eq=False)
class Table:
    """N rows in named columns.

    Args:
        arrow: the pyarrow table.
        unreadable: images that are in no row because they could not be read.
    """

    arrow: Any
    unreadable: Unreadable = field(default_factory=Unreadable)

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __repr__(self) -> str:
        return f"<{len(self):,} rows: {', '.join(self.columns)}>"

    def __getitem__(self, column: str) -> list[Any]:
        """The N values of a column.

        Raises:
            KeyError: there is none of this name.
        """
        found: list[Any] = self.arrow[column].to_pylist()
        return found

    @property
    def columns(self) -> list[str]:
        """Their names."""
        return list(self.arrow.column_names)

    def to_arrow(self) -> Any:
        """The table itself, of pyarrow."""
        return self.arrow

    def to_pandas(self) -> Any:
        """A DataFrame of pandas.

        Raises:
            UserError: pandas is not installed.
        """
        _need("pandas")
        return self.arrow.to_pandas()

    def to_polars(self) -> Any:
        """A DataFrame of Polars.

        Raises:
            UserError: Polars is not installed.
        """
        return _need("polars").from_arrow(self.arrow)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.arrow.__arrow_c_stream__(requested_schema)

    def _repr_html_(self) -> str:
        from html import escape

        def row(cells: Sequence[Any], tag: str) -> str:
            return "".join(f"<{tag}>{escape(_shown(cell))}</{tag}>" for cell in cells)

        head = self.arrow.slice(0, _SHOWN)
        body = zip(*(head[name].to_pylist() for name in self.columns), strict=True)
        rows = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in body)
        more = f"<p>{len(self):,} rows</p>" if len(self) > _SHOWN else ""
        return f"<table><tr>{row(self.columns, 'th')}</tr>{rows}</table>{more}"


_SHOWN = 10


def _shown(cell: Any) -> str:
    if isinstance(cell, list):
        return ", ".join(map(_shown, cell))
    text = f"{cell:.4g}" if isinstance(cell, float) else str(cell)
    return text if len(text) <= 60 else f"{text[:60]} …"


def _need(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError:
        raise UserError(
            f"the package {package!r} is not installed: pip install {package}, or take .to_arrow()"
        ) from None


class AsTable:
    """A result that is a table: it can be given wherever one is asked for, and turned into any data frame."""

    def table(self) -> Table:
        """The whole table."""
        raise NotImplementedError

    def to_arrow(self) -> Any:
        """A table of pyarrow."""
        return self.table().to_arrow()

    def to_pandas(self) -> Any:
        """A DataFrame of pandas; raises UserError where it is not installed."""
        return self.table().to_pandas()

    def to_polars(self) -> Any:
        """A DataFrame of Polars; raises UserError where it is not installed."""
        return self.table().to_polars()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.table().__arrow_c_stream__(requested_schema)


class TableFile(AsTable):
    """A result whose table is at ``out``: one Parquet or CSV file, or a folder of Parquet shards."""

    out: Path

    def table(self) -> Table:
        """The whole table, read anew.

        Raises:
            UserError: it is gone, or damaged.
        """
        return Table(read_table(self.out), getattr(self, "unreadable", Unreadable()))


def read_table(path: Path) -> Any:
    """A Parquet or CSV file, or a folder of Parquet shards in the order of their names, as a pyarrow table.

    Cells of a CSV are texts.

    Raises:
        UserError: there is none, or it is damaged.
    """
    import pyarrow as pa

    if path.is_dir():
        shards = sorted(path.glob("*.parquet"))
        if not shards:
            raise UserError(f"{path} holds no Parquet files")
        return pa.concat_tables(
            [read_columns(shard) for shard in shards], promote_options="default"
        )
    if path.suffix.lower() == ".csv":
        from .spreadsheet import from_csv

        header, rows = from_csv(path, "table")
        cells = [row for _, row in rows]
        return pa.table({name: [row[name] for row in cells] for name in header})
    return read_columns(path)


def as_arrow(value: Any) -> Any | None:
    """A data frame of any kind as a pyarrow table; None: it is none.

    Raises:
        UserError: it is one that Arrow cannot hold.
    """
    import pyarrow as pa

    try:
        if isinstance(value, pa.Table):
            return value
        if isinstance(value, Mapping) and any(isinstance(cells, str) for cells in value.values()):
            raise TypeError(
                'a mapping has columns, {"item": […], "labels": […]}, not a row for each item'
            )
        if isinstance(value, ArrowStream | Mapping):
            if getattr(value, "ndim", 2) == 1:
                raise TypeError(
                    "a series is one column, and a table has several, such as item and labels"
                )
            return pa.table(value)
        if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "columns"):
            return pa.Table.from_pandas(value, preserve_index=False)
        if isinstance(value, Interchange):
            from pyarrow.interchange import from_dataframe

            return from_dataframe(value)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"this table cannot be turned into one of Arrow: {reason}") from None
    return None
