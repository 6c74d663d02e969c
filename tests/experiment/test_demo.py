"""The demo: fast enough, complete, and it shows what it claims (here with one seed of three)."""

from __future__ import annotations

import json
import os
import subprocess
import sys


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
        assert results[name]["map"].keys() == {"mean", "std", "median", "n"}
    assert 1.5 < mile["labels_per_image"]["mean"] < 4.5
