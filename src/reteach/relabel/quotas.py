"""How many images each class gets: the same number, or shares of a total by class frequency.

Billion-scale semi-supervised learning (Yalniz et al. 2019), Section 4.4: *balanced-ranked* takes K per
class; *unbalanced-ranked* as many in all, spread like the tags' frequencies (a Zipfian tail).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, closest
from ..spreadsheet import unguard

Counts = NDArray[np.int64]


def balanced(per_class: int, classes: int) -> Counts:
    """(C,) quotas: ``per_class`` for each."""
    return np.full(classes, per_class, np.int64)


def proportional(per_class: int, frequencies: NDArray[np.float64]) -> Counts:
    """(C,) quotas that add up to ``per_class`` · C and are proportional to ``frequencies``.

    Rounded by largest remainders, ties to the class that comes first.
    """
    total = per_class * len(frequencies)
    exact = total * (frequencies / frequencies.sum())
    quotas: Counts = np.floor(exact).astype(np.int64)
    left = total - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:left]] += 1
    return quotas


def align(
    frequencies: Mapping[str, float], classes: Sequence[str], where: str
) -> NDArray[np.float64]:
    """The frequencies in class order; classes that are not listed get 0.

    Raises:
        UserError: an unknown class, or nothing above zero.
    """
    unknown = [name for name in frequencies if name not in set(classes)]
    if unknown:
        raise UserError(
            f"{where}: class {unknown[0]!r} is not in the class list"
            f"{closest(unknown[0], list(classes))}"
        )
    found = np.array([frequencies.get(name, 0.0) for name in classes], np.float64)
    if not found.sum() > 0:
        raise UserError(f"{where}: all class frequencies are zero")
    return found


def read_frequencies(path: Path) -> dict[str, float]:
    """A CSV with the columns ``class`` and ``count`` (as ``reteach relabel hashtags`` writes it).

    Raises:
        UserError: no such file, a missing column, a class twice, or a count that is no number >= 0.
    """
    if not path.is_file():
        raise UserError(f"class frequencies {path} do not exist")
    try:
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
        missing = next((c for c in ("class", "count") if c not in (rows.fieldnames or ())), None)
        if missing:
            raise UserError(f"{path}: no column {missing!r}")
        found: dict[str, float] = {}
        for line, row in enumerate(rows, start=2):
            name, cell = unguard(str(row["class"])), str(row["count"])
            try:
                value = float(cell)
            except ValueError:
                value = -1.0
            if not 0 <= value < np.inf:
                raise UserError(f"{path}: line {line}: {cell!r} is not a number of at least 0")
            if name in found:
                raise UserError(f"{path}: line {line}: class {name!r} is listed twice")
            found[name] = value
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file") from None
    if not found:
        raise UserError(f"{path}: there are no class frequencies in it")
    return found
