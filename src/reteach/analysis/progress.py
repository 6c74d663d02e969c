"""Does progress on the original labels carry over to the reassessed ones? (ReaL, Section 4, Fig. 4)

The models are ordered by original accuracy and cut into an earlier and a later half; in each half
reassessed accuracy is regressed on original accuracy by least squares, and the two slopes are
compared by a Z-test. The paper reports slopes of 0.86 and 0.51. Its Table 5 gives 0.97 and 0.57
when cut in the middle (0.85 and 0.56 without the three weakest models): which models the paper left
out it does not say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..spreadsheet import from_csv

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FittedLine:
    """A least-squares line."""

    slope: float
    intercept: float
    error: float
    """Standard error of the slope."""
    r: float
    """Correlation."""
    n: int


@dataclass(frozen=True)
class Transfer:
    """The two halves' lines and the test of their slopes being equal."""

    earlier: FittedLine
    later: FittedLine
    z: float
    p: float
    """Two-sided."""
    cut: float
    """Original accuracy at which the later half begins."""


def fit(x: Floats, y: Floats) -> FittedLine:
    """Least squares of ``y`` on ``x``, both (n,), n ≥ 3 and ``x`` not constant."""
    n = len(x)
    dx, dy = x - x.mean(), y - y.mean()
    sxx, sxy, syy = float(dx @ dx), float(dx @ dy), float(dy @ dy)
    if n < 3 or sxx == 0:
        raise UserError("a line needs at least 3 models of different accuracy")
    slope = sxy / sxx
    residual = max(syy - slope * sxy, 0.0)
    return FittedLine(
        slope,
        float(y.mean() - slope * x.mean()),
        math.sqrt(residual / (n - 2) / sxx),
        sxy / math.sqrt(sxx * syy) if syy else float("nan"),
        n,
    )


def progress(original: Floats, reassessed: Floats) -> Transfer:
    """Compare the halves of M ≥ 6 models.

    Args:
        original, reassessed: (M,) accuracies, in the same unit.

    Raises:
        UserError: fewer than 6 models.
    """
    if len(original) < 6:
        raise UserError(f"comparing two halves needs at least 6 models, got {len(original)}")
    order = np.argsort(original, kind="stable")
    half = len(order) // 2
    earlier = fit(original[order[:half]], reassessed[order[:half]])
    later = fit(original[order[half:]], reassessed[order[half:]])
    spread = math.hypot(earlier.error, later.error)
    difference = earlier.slope - later.slope
    z = (
        difference / spread
        if spread
        else (math.copysign(math.inf, difference) if difference else 0.0)
    )
    return Transfer(
        earlier, later, z, math.erfc(abs(z) / math.sqrt(2)), float(original[order[half]])
    )


def read_results(original: Path, reassessed: Path) -> tuple[Floats, Floats, list[str]]:
    """Accuracies in percent of the models that two tables have (columns ``model, top1``), and their names.

    Raises:
        UserError: a table that cannot be read, or no model in both.
    """
    one, two = _top1(original), _top1(reassessed)
    names = [name for name in one if name in two]
    if not names:
        raise UserError(f"{original} and {reassessed} have no model in common")
    return np.array([one[n] for n in names]), np.array([two[n] for n in names]), names


def _top1(path: Path) -> dict[str, float]:
    header, rows = from_csv(path, "table of results")
    if not {"model", "top1"} <= set(header):
        raise UserError(f"{path}: needs the columns 'model' and 'top1'")
    try:
        return {row["model"]: float(row["top1"]) for _, row in rows}
    except ValueError:
        raise UserError(f"{path}: a 'top1' is not a number") from None
