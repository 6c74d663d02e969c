"""The examples about cleaning run, shrunk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments, "--smoke"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_table_2_has_all_its_rows():
    rows = run("real_table2.py").splitlines()[-5:]
    assert rows[0].split() == ["accuracy,", "median", "2", "epochs", "4", "epochs"]
    names = [row[:22].strip() for row in rows[1:]]
    assert names == ["Baseline", "+ Sigmoid", "+ Clean", "+ Both"]
    assert rows[1].count("( +0.0)") == 1  # gains are over the shortest baseline


def test_cleaning_cifar(shared_data, tmp_path):
    lines = run("clean_cifar.py", str(shared_data), "--out", str(tmp_path))
    for row in (
        "accuracy, all",
        "accuracy, random",
        "agreement beats all by",
        "f1, agreement",
        "warning: ",
    ):
        assert row in lines
