"""Our own label tables as a format like any other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...tables import LabelTable, read_labels, write_labels

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """The table, its empty cells taken as ``options.kind`` says.

    Raises:
        UserError: as :func:`reteach.tables.read_labels`.
    """
    return read_labels(source, kind=options.kind)


def write(table: LabelTable, out: Path, options: ConvertOptions) -> tuple[str, ...]:
    """Parquet or CSV, after the ending of ``out``."""
    write_labels(out, table)
    return ()
