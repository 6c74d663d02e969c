"""``train --patience`` from the command line to the report: the last model and the best, said and usable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reteach.cli import main
from reteach.records.runs import EVALUATION, RUN
from reteach.runs.checkpoint import load_models


def test_patience_keeps_the_best_model_beside_the_last_and_says_so(tmp_path: Path, capsys):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, (40, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", images=images)
    names = "".join(f"{i},{'ab'[i % 2]}\n" for i in range(40))
    (tmp_path / "y.csv").write_text(f"item,labels\n{names}")
    run = tmp_path / "run"
    given = ["--images", f"{tmp_path}/x.npz", "--labels", f"{tmp_path}/y.csv", "--out", str(run)]
    given += ["--model", "reteach_tiny", "--device", "cpu", "--steps", "60", "--batch-size", "8"]
    given += ["--eval-every", "2", "--val-fraction", "0.3"]
    assert main(["train", "softmax", *given, "--patience", "3"]) == 0
    said = capsys.readouterr().err
    record = RUN.read(run)
    assert record is not None
    assert record.derived is not None
    step = record.derived["best_step"]
    assert f"the best validation was at step {step}" in said
    assert list(load_models(run, "cpu").predictors) == ["model", "best"]
    judged = EVALUATION.read(run)["val"]
    assert judged["best"].metrics["accuracy"] >= judged["model"].metrics["accuracy"]
    assert record.steps < 60, "the steps that were made, not those of the budget"
    assert "best step (chosen)" in (run / "report.html").read_text()
    models = (run / "models" / "index.json").read_bytes()
    assert main(["resume", str(run)]) == 0
    assert (run / "models" / "index.json").read_bytes() == models
    out = ["--images", f"{tmp_path}/x.npz", "--out", f"{tmp_path}/p.csv", "--device", "cpu"]
    assert main(["predict", str(run), *out, "--predictor", "best"]) == 0


@pytest.mark.parametrize("command", [["train", "softmax"], ["compare", "softmax", "sigmoid"]])
def test_patience_without_validations_is_refused(command, tmp_path, capsys):
    images = np.zeros((8, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=images + np.arange(8, dtype=np.uint8)[:, None, None, None])
    (tmp_path / "y.csv").write_text(
        "item,labels\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(8))
    )
    given = ["--images", f"{tmp_path}/x.npz", "--labels", f"{tmp_path}/y.csv", "--patience", "2"]
    more = ["--val-fraction", "0"] if command[0] == "train" else []
    given += ["--model", "reteach_tiny", "--device", "cpu", "--out", f"{tmp_path}/out", *more]
    assert main([*command, *given]) == 2
    assert "--patience has no effect" in capsys.readouterr().err
