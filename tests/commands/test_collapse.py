"""A training that collapses, from the command line to whoever uses its run: no success without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reteach.cli import main
from reteach.engine import collapse
from reteach.metrics.summary import Summary
from reteach.records.comparisons import TRIAL
from reteach.records.runs import RUN

COUNTS = [1.0, 1.5, 1.0, 3.0, 3.0, 3.0]
"""Predicted labels per image of three classes, of one validation after the other."""


@pytest.fixture(autouse=True)
def old(monkeypatch):
    monkeypatch.setattr(collapse, "YOUNG", 0)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", images=draw.integers(0, 255, (48, 8, 8, 3)).astype(np.uint8))
    names = "".join(f"{i},{'abc'[i % 3]}\n" for i in range(48))
    (tmp_path / "y.csv").write_text(f"item,labels\n{names}")
    return tmp_path


@pytest.fixture
def drifting(monkeypatch):
    """Validations that tell these counts, whatever the model."""
    compute, at = Summary.compute, [0]

    def told(self: Summary) -> dict[str, Any]:
        at[0] += 1
        # by the end of training two more are judged, for the report
        return compute(self) | {"labels_per_image": COUNTS[min(at[0], len(COUNTS)) - 1]}

    monkeypatch.setattr(Summary, "compute", told)


def given(world: Path, *more: str, steps: int = 40) -> list[str]:
    words = ["--images", f"{world}/x.npz", "--labels", f"{world}/y.csv", *more]
    words += [
        "--model",
        "reteach_tiny",
        "--device",
        "cpu",
        "--batch-size",
        "8",
        "--steps",
        f"{steps}",
    ]
    return words


def test_a_run_that_collapses_keeps_the_best_model_and_says_so_everywhere(world, drifting, capsys):
    run = world / "run"
    words = given(world, "--out", f"{run}", "--eval-every", "2", "--val-fraction", "0.3")
    assert main(["train", "sigmoid", *words]) == 0
    said = capsys.readouterr().err
    record = RUN.read(run)
    assert (record.status, record.steps) == ("finished", 12)
    assert "stopped at step 12 of 40" in record.collapse
    assert "the model is that of the best validation before it, at step" in record.collapse
    assert record.collapse in said
    assert record.collapse in record.warnings
    page = (run / "report.html").read_text()
    assert "Collapsed" in page
    predict = ["predict", f"{run}", "--images", f"{world}/x.npz", "--out", f"{world}/p.csv"]
    assert main([*predict, "--device", "cpu"]) == 0
    assert f"{run}: {record.collapse}" in capsys.readouterr().err
    models = (run / "models/index.json").read_bytes()
    assert main(["resume", f"{run}"]) == 0
    assert (run / "models/index.json").read_bytes() == models
    assert RUN.read(run).collapse == record.collapse


@pytest.fixture
def taught_all(monkeypatch):
    """A teacher that says of each image that all is present."""
    from reteach.methods import distill

    monkeypatch.setattr(distill.exceeding, "__code__", (lambda logits, rho: logits > -1e9).__code__)


def test_a_run_without_a_healthy_validation_fails_and_is_named(world, taught_all, capsys):
    run = world / "run"
    words = given(world, "--out", f"{run}", "--val-fraction", "0")
    assert main(["train", "mile", *words]) == 2
    said = capsys.readouterr().err
    record = RUN.read(run)
    assert record.status == "collapsed"
    assert "no validation before it was healthy, and no model is kept" in record.message
    assert f"reteach: {record.message}" in said
    assert "Collapsed" in (run / "report.html").read_text()
    predict = ["predict", f"{run}", "--images", f"{world}/x.npz", "--out", f"{world}/p.csv"]
    assert main([*predict, "--device", "cpu"]) == 2
    assert f"holds no trained model: {record.message}" in capsys.readouterr().err
    assert main(["resume", f"{run}"]) == 2
    assert RUN.read(run) == record.__class__(**{**vars(record), "created": RUN.read(run).created})


def test_on_collapse_warn_trains_to_the_end(world, taught_all, capsys):
    words = given(world, "--out", f"{world}/run", "--val-fraction", "0", "--on-collapse", "warn")
    assert main(["train", "mile", *words]) == 0
    assert "collapse to every class present" in capsys.readouterr().err
    assert RUN.read(world / "run").steps == 40


@pytest.mark.parametrize("targets", ["soft", "hard"])
def test_a_student_that_is_taught_one_class_an_image_does_not_count_as_untaught(world, targets):
    words = given(world, "--out", f"{world}/run", "--k-t", "10", "--k-s", "10")
    assert main(["train", "mile", "--targets", targets, *words]) == 0
    record = RUN.read(world / "run")
    assert (record.status, record.steps, record.collapse) == ("finished", 40, None)


def test_a_trial_that_collapses_is_shown_as_collapsed(world, taught_all, capsys):
    out = world / "out"
    words = given(world, "--out", f"{out}", "--val-fraction", "0.5", "--seeds", "2")
    assert main(["compare", "sigmoid", "mile", *words, "--processes", "1"]) == 0
    said = capsys.readouterr()
    assert "collapsed: mile, 2 of 2 trainings, " in said.out
    trial = TRIAL.read(out / "runs/mile-seed0")
    assert trial.collapsed
    assert 0 < trial.spared < 40
    assert trial.values["accuracy"] is not None
    assert not TRIAL.read(out / "runs/sigmoid-seed0").collapsed
    assert "collapsed: 2 of 2 seeds" in (out / "report.html").read_text()
    rows = json.loads((out / "comparison.json").read_text())["rows"]
    assert {row["name"]: row.get("collapsed", 0) for row in rows}["mile"] == 2


def test_a_comparison_of_before_there_was_a_stop_goes_on(world):
    """Its trials and its settings lack what was not there yet."""
    out = world / "out"
    more = ("--out", f"{out}", "--val-fraction", "0.5", "--seeds", "1", "--processes", "1")
    words = ["compare", "sigmoid", *given(world, *more, steps=4)]
    assert main(words) == 0
    trial = out / "runs/sigmoid-seed0"
    job = json.loads((trial / "job.json").read_text())
    assert job["training"].pop("on_collapse") == "stop"
    (trial / "job.json").write_text(json.dumps(job))
    outcome = json.loads((trial / "outcome.json").read_text())
    for key in ("spared", "collapsed"):
        del outcome[key]
    (trial / "outcome.json").write_text(json.dumps(outcome))
    assert main(words) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "softmax"], "has no effect with softmax"),
        (["train", "sigmoid", "--val-fraction", "0"], "without validation images"),
        (["train", "distill"], "without --target threshold"),
        (["train", "mile", "--targets", "soft"], "without --targets threshold"),
        (["compare", "softmax", "elr"], "has no effect with softmax"),
    ],
)
def test_on_collapse_is_refused_where_it_has_no_effect(words, said, world, capsys):
    more = given(world, "--out", f"{world}/run", "--on-collapse", "warn")
    assert main([*words, *more]) == 2
    assert said in capsys.readouterr().err


def test_beside_methods_that_can_collapse_the_others_do_not_mind(world):
    from reteach.compare.variants import variants
    from reteach.options.shared import Model, Training

    both, _ = variants(("softmax", "mile"), Model(), Training(on_collapse="warn"))
    assert [v.config.training.on_collapse for v in both] == ["stop", "warn"]
