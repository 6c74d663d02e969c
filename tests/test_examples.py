"""The examples run, shrunk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *arguments, "--smoke"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_multi_mnist(tmp_path):
    noise = np.random.default_rng(0)
    images = noise.integers(0, 255, (40, 28, 28), np.uint8)
    digits = np.arange(40, dtype=np.uint8) % 10
    names = ("train_images", "train_labels", "test_images", "test_labels")
    np.savez(tmp_path / "m.npz", **dict(zip(names, (images, digits) * 2, strict=True)))
    run("multi_mnist.py", str(tmp_path / "m.npz"), "--out", str(tmp_path / "out"))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"softmax", "sigmoid", "mile", "mile k_t=25", "every class present"} <= results.keys()


@pytest.mark.parametrize("figure", ["schedule", "threshold", "lessons"])
def test_sweeps(tmp_path, figure):
    run("mile_sweeps.py", figure, "--out", str(tmp_path / "out"))
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert len(content["sweep"]) in (1, 2)
    assert (tmp_path / "out" / "report.html").exists()


def test_recipes():
    listed = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "recipes.py")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = [line.split()[0] for line in listed.splitlines()]
    assert {"imagenet-r50-mile", "webvision-r50d-mile", "finetune-0.01-mile"} <= set(names)
    assert "model" in run("recipes.py", "webvision-r50-mile")
    for name in ("imagenet-r18-elr", "finetune-0.01-softmax"):
        run("recipes.py", name)


def test_nct_on_a_gpu_in_small_on_a_cpu(tmp_path):
    run("nct_gpu.py", "--out", str(tmp_path))
    content = json.loads((tmp_path / "50" / "comparison.json").read_text())
    assert [row["name"] for row in content["rows"][:2]] == ["ensemble", "nct"]
    assert content["configuration"]["nct"]["settings"]["target_variability"] == 0.5
    assert {"best", "last", "mean10", "wrong_accuracy"} <= set(content["metrics"])
