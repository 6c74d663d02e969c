"""The sweeps of the billion-scale paper and the pipeline, run shrunk, and the settings of the former."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from reteach.relabel.selection.quotas import paper_ratio
from reteach.schedules import Drops

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.append(str(EXAMPLES))


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


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


def test_the_pipeline_beside_plain_training() -> None:
    rows = run("pipeline.py", "--only", "plain", "THE WHOLE").splitlines()
    assert rows[0].split()[:3] == ["accuracy", "map", "ece"]
    assert [row[:34].strip() for row in rows[1:]] == ["plain", "THE WHOLE"]


def test_the_pipeline_of_tags() -> None:
    """With a review, whose sets are taught as shares, on which `calibrate --folds` works too."""
    names = ["plain", "THE WHOLE", "review, its sets taught, calibrate", "the same with select"]
    rows = run("pipeline.py", "--one-of", "made-up", "--only", *names).splitlines()
    assert rows[0].split()[:3] == ["map", "f1@0.5", "f1@top1"]
    assert [row[:34].strip() for row in rows[1:]] == names


def test_a_sweep_of_the_pile() -> None:
    rows = run("semi_sweeps.py", "pile").splitlines()
    cells = {row[:34].strip(): row[34:].split() for row in rows[1:4]}
    assert list(cells) == ["teacher", "half", "all"]
    assert cells["all"][0] == "40.0"  # picks: ten of each class


def test_a_small_student_and_what_its_network_is_worth_elsewhere() -> None:
    """semi_transfer.py --smoke first makes the students: semi_student.py's table stands above its own."""
    rows = [row.split() for row in run("semi_transfer.py").splitlines()]
    first = {row[0]: row[1:] for row in rows[: [r[0] for r in rows].index("rate")]}
    assert float(first["teacher"][0]) == 40  # picks
    assert len(first["student"]) == 5  # no picks, right, pretrained, accuracy and beside supervised
    table = {row[0]: row for row in rows[-4:]}
    assert list(table) == ["from", "supervised", "pretrained", "student"]
    assert table["from"][3] == "–", "a network without weights has no frozen features"
    assert all(
        0 <= float(table[name][2]) <= 100 for name in ("supervised", "pretrained", "student")
    )


def test_rivals_choose_their_rates_on_given_labels() -> None:
    rows = [row.split() for row in run("nct_rivals.py", "--only", "softmax", "nct").splitlines()]
    assert rows[0] == ["rate", "r_max", "accuracy", "beside", "softmax"]
    assert [row[0] for row in rows[1:]] == ["softmax", "nct"]
    assert float(rows[1][3]) > 50, "four classes, a quarter would be chance"
    assert rows[2][2] in ("0", "0.3"), "one of the r_max that were tried"


@pytest.mark.parametrize(
    ("sweep", "k", "steps"),
    [
        ("pile", [4000, 8000, 16_000], 651_041),
        ("per-class", [4000, 8000, 16_000, 32_000], 651_041),
        ("top", [16_000] * 8, 651_041),
        ("iterations", [16_000] * 2, 651_041),
        ("self-trained", [16_000], 651_041),
    ],
)
def test_the_papers_sweeps_come_to_what_it_says(sweep: str, k: list[int], steps: int) -> None:
    """Section 4.1 and 4.3, Table 9: K by the size of the pile, 1,536 images a step, 13 halvings."""
    found = module("semi_sweeps")
    lines = list(found.paper(sweep))
    assert [int(n) for n in re.findall(r"--per-class (\d+)", " ".join(lines))] == k
    assert f"{steps:,} steps of 1,536" in lines[1]
    rate = Drops(1.0, steps, 13, 0.5)
    apart = int(re.findall(r"every ([\d,]+)", lines[1])[0].replace(",", ""))
    assert [round(rate(n * apart + n) / rate(n * apart - 2), 3) for n in (1, 7, 13)] == [0.5] * 3
    assert rate(steps - 1) == 0.5**13
    if sweep == "pile":
        sizes = [
            int(n.replace(",", "")) for n in re.findall(r"  ([\d,]+) images", "\n".join(lines))
        ]
        assert [paper_ratio(size, 1000) for size in sizes] == k
    if sweep == "iterations":
        assert "1,302,083 steps" in lines[3]
