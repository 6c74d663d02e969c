"""The regression of progress: against scipy, the paper's Table 5 and 1,266 later models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reteach.analysis.progress import fit, progress, read_results
from reteach.errors import UserError

# Table 5 of the paper: reassessed and original accuracy, without the original labels themselves
# fmt: off
TABLE_5 = np.array([
    (91.20, 89.03), (90.55, 88.38), (90.54, 87.55), (89.73, 86.36), (89.11, 85.40),
    (89.02, 85.40), (88.65, 84.19), (88.33, 83.25), (88.19, 82.65), (87.82, 82.76),
    (87.56, 82.60), (86.59, 80.32), (86.02, 79.95), (85.18, 79.18), (84.79, 78.24),
    (83.58, 77.18), (83.10, 76.72), (82.94, 76.10), (82.82, 76.56), (81.26, 74.41),
    (81.15, 73.92), (80.60, 73.34), (80.41, 73.22), (80.28, 72.90), (79.01, 71.56),
    (78.67, 71.49), (78.23, 71.02), (69.76, 62.21), (69.05, 61.37), (62.88, 56.36),
])
# fmt: on


def test_a_line_equals_scipy() -> None:
    from scipy.stats import linregress

    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = 0.7 * x + rng.normal(size=40) * 0.1 + 3
    found, expected = fit(x, y), linregress(x, y)
    assert found.slope == pytest.approx(expected.slope)
    assert found.intercept == pytest.approx(expected.intercept)
    assert found.error == pytest.approx(expected.stderr)
    assert found.r == pytest.approx(expected.rvalue)


def test_the_papers_models() -> None:
    found = progress(TABLE_5[:, 1], TABLE_5[:, 0])
    assert (found.earlier.n, found.later.n) == (15, 15)
    assert found.earlier.slope == pytest.approx(0.97, abs=0.01)
    assert found.later.slope == pytest.approx(0.57, abs=0.01)
    assert found.p < 0.001
    strong = np.sort(TABLE_5[:, 1])[3]  # without the three weakest: the paper's 0.86 within 0.02
    rest = TABLE_5[TABLE_5[:, 1] >= strong]
    assert progress(rest[:, 1], rest[:, 0]).earlier.slope == pytest.approx(0.86, abs=0.02)


def test_later_models(shared_data: Path) -> None:
    folder = shared_data / "real"
    if not (folder / "results-imagenet.csv").is_file():
        pytest.skip("the published results are not on this machine")
    original, reassessed, names = read_results(
        folder / "results-imagenet.csv", folder / "results-imagenet-real.csv"
    )
    assert len(names) == 1266
    found = progress(original, reassessed)
    assert found.earlier.slope > 0.9 > 0.56 > found.later.slope > 0.4
    assert found.p < 0.001
    low = original < 80
    assert fit(original[low], reassessed[low]).slope == pytest.approx(0.956, abs=0.001)
    assert fit(original[~low], reassessed[~low]).slope == pytest.approx(0.595, abs=0.001)


def test_equal_slopes_are_not_told_apart() -> None:
    rng = np.random.default_rng(2)
    x = np.sort(rng.uniform(60, 90, 200))
    p = [progress(x, 0.8 * x + rng.normal(size=200)).p for _ in range(200)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.04)
    exact = progress(np.arange(8.0), 2 * np.arange(8.0))
    assert exact.p == pytest.approx(1.0)


def test_too_few_models() -> None:
    with pytest.raises(UserError, match="at least 6 models, got 5"):
        progress(np.arange(5.0), np.arange(5.0))
    with pytest.raises(UserError, match="different accuracy"):
        progress(np.ones(8), np.arange(8.0))
