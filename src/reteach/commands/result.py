"""What every command gives back: a typed result, which Python uses as it is and the command line prints."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Result(Protocol):
    """A frozen dataclass of paths, tables and numbers: files that were written, and what is in them."""

    def lines(self) -> Iterator[str]:
        """What the command line prints, line by line."""


def to_json(result: Any) -> str:
    """A result as JSON: its fields by name, paths as text, arrays as lists, what is no finite number null.

    Fields declared with ``metadata={"json": False}`` are left out: values that stand in a file as well.
    """
    return json.dumps(_plain(result), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        shown = (f for f in fields(value) if f.metadata.get("json", True))
        return {f.name: _plain(getattr(value, f.name)) for f in shown}
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
