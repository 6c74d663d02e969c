"""The files of a run folder that hold no record; what is damaged is named in one line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..records.record import damaged, load_text, mapping
from ..records.runs import Measurement
from ..spreadsheet import csv_table, unguard
from ..structured import parse_json, parse_yaml


def load_measurements(file: Path) -> list[Measurement]:
    """The lines of ``metrics.jsonl``; a last line that is still being written is left out."""
    lines = (load_text(file) or "").splitlines()
    records: list[Measurement] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append(Measurement.of(mapping(parse_json(line), f"{file} line {number}")))
        except ValueError:
            if number < len(lines):
                raise damaged(file, f"line {number} is not JSON") from None
    return records


def load_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file; empty if there is no such file."""
    text = load_text(file)
    if text is None:
        return {}
    try:
        return mapping(parse_yaml(text), f"{file}")
    except ValueError as error:
        raise damaged(file, str(error)) from None


def load_csv(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column; the ``'`` that disarms a formula is taken off again."""
    text = load_text(file)
    if text is None:
        return []
    try:
        header, rows = csv_table(file, io.StringIO(text, newline=""))
        return [dict(zip(header, map(unguard, cells), strict=True)) for _, cells in rows]
    except UserError as error:
        raise damaged(file, str(error)) from None
