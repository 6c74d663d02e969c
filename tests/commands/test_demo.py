"""The demo: fast enough, complete, and it shows what it claims (here with one seed of three)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields

import pytest

from reteach.cli import main
from reteach.compare import compare as comparison
from reteach.methods.mile_plan import plan
from reteach.options import demo


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--steps 60", "--steps must be at least 150, got 60"),
        ("--steps 149", "--steps must be at least 150"),
        ("--steps 0", "--steps must be at least 150"),
        ("--seeds 0", "--seeds must be at least 1"),
        ("--processes 0", "--processes must be at least 1"),
        ("--processes -1", "--processes must be at least 1"),
        ("--out file", "cannot write file: File exists"),
        ("--out file/below", "cannot write file/below: Not a directory"),
    ],
)
def test_what_is_impossible_is_refused_before_any_training(
    words, said, tmp_path, monkeypatch, capsys
):
    """In one line that names no flag which ``demo`` lacks."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(comparison, "finished", _trains)
    assert main(["demo", *words.split()]) == 2
    (line,) = (text for text in capsys.readouterr().err.splitlines() if "reteach:" in text)
    assert said in line
    flags = set(re.findall(r"--([a-z-]+)", line))
    assert flags <= {f.name for f in fields(demo.DemoOptions)}


def _trains(*_: object) -> None:
    raise AssertionError("something was trained")


@pytest.mark.parametrize("steps", [150, 151, 199, 200, 299, 300, 1000, 1001, 1500])
def test_every_number_of_steps_ends_with_the_student(steps):
    """Else MILe would warn, and name flags that the demo lacks."""
    cycles = plan(steps, demo.TEACHER, None)
    assert sum(cycles.before(steps)) == steps
    assert not cycles(steps - 1).first
    assert cycles.before(steps)[1] >= steps / 4


def test_the_demo_has_the_cycles_of_the_documented_figures():
    """100 steps of the teacher, 50 of the student."""
    ours, documented = (
        plan(demo.DemoOptions.steps, demo.TEACHER, None),
        plan(demo.DemoOptions.steps, 100, 50),
    )
    assert all(ours(step) == documented(step) for step in range(demo.DemoOptions.steps))


def test_the_demo_shows_what_it_claims(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "reteach", "demo", "--seeds", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "runs/demo/results.json").read_text())
    assert (tmp_path / "runs/demo/report.html").exists()
    mile, sigmoid = results["mile"], results["sigmoid"]

    def gain(metric: str) -> float:
        return mile[metric]["mean"] - sigmoid[metric]["mean"]

    assert gain("f1@0.25") >= 12
    assert gain("f1@tuned") >= 2
    assert gain("map") >= 3
    assert 50 < results["every class present"]["f1@0.25"]["mean"] < 52
    keys = {"f1@0.25", "f1@0.5", "f1@tuned", "map", "accuracy", "labels_per_image"}
    for name in ("softmax", "sigmoid", "mile"):
        assert keys <= results[name].keys()
        assert results[name]["map"].keys() == {"mean", "median", "n"}
    assert 1.5 < mile["labels_per_image"]["mean"] < 4.5
