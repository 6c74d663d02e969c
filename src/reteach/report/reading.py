"""The files of a run folder as plain values; what is damaged is named in one line."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..spreadsheet import unguard


def load_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is no such file."""
    text = _text(file)
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(file, str(error)) from None
    return mapping(value, f"{file}")


def load_lines(file: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; a last line that is still being written is left out."""
    lines = (_text(file) or "").splitlines()
    records = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append(mapping(json.loads(line), f"{file} line {number}"))
        except (ValueError, RecursionError):
            if number < len(lines):
                raise damaged(file, f"line {number} is not JSON") from None
    return records


def load_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file; empty if there is no such file."""
    import yaml

    text = _text(file)
    if text is None:
        return {}
    try:
        return mapping(yaml.safe_load(text), f"{file}")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise damaged(file, str(error)) from None


def load_csv(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column; the ``'`` that disarms a formula is taken off again."""
    text = _text(file)
    if text is None:
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise damaged(file, str(error)) from None
    return [{str(k): unguard(v) for k, v in row.items() if k and v is not None} for row in rows]


def mapping(value: Any, where: str) -> dict[str, Any]:
    """A mapping with text keys; nothing is an empty one.

    Raises:
        UserError: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{where} is damaged: expected names and values, got {_kind(value)}")
    return {str(key): each for key, each in value.items()}


def items(value: Any, where: str) -> list[Any]:
    """A list; nothing is an empty one.

    Raises:
        UserError: it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise UserError(f"{where} is damaged: expected a list, got {_kind(value)}")
    return list(value)


def mappings(value: Any, where: str) -> list[dict[str, Any]]:
    """A list of mappings."""
    return [mapping(each, where) for each in items(value, where)]


def names(value: Any, where: str) -> list[str]:
    """A list of texts."""
    return [str(each) for each in items(value, where)]


def damaged(file: Path, reason: str) -> UserError:
    """The error of a file that cannot be understood, on one line."""
    return UserError(f"{file} is damaged: {' '.join(reason.split())[:150]}")


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise damaged(file, "it is not UTF-8 text") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"cannot read {file}: {why}") from None


def _kind(value: Any) -> str:
    return {"str": "text", "list": "a list", "dict": "names and values"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )
