"""``mile --rho mixture`` from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reteach.cli import main

QUICK = [
    *("--model", "reteach_tiny", "--workers", "0", "--device", "cpu"),
    *("--steps", "6", "--batch-size", "8", "--k-t", "2", "--k-s", "1"),
]


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    file = tmp_path_factory.mktemp("mixture") / "pack.npz"
    images = np.random.default_rng(0).integers(0, 255, (48, 12, 12), np.uint8)
    names = np.array(["a", "b", "c"])
    np.savez(file, images=images, labels=np.arange(48) % 3, classes=names)
    return file


@pytest.mark.parametrize("more", [[], ["--soft-sets"], ["--student", "continuing"]], ids=str)
def test_it_trains(pack, tmp_path, more):
    words = ["train", "mile", "--images", str(pack), "--out", str(tmp_path / "run"), *QUICK]
    assert main([*words, "--rho", "mixture", *more]) == 0
    assert "rho: mixture" in (tmp_path / "run" / "config.yaml").read_text()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    assert main(["resume", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("student", ["algorithm1", "continuing"])
@pytest.mark.parametrize(
    ("images", "says"),
    [
        (48, "--rho mixture needs 100 labelled images to calibrate a teacher on, and these are 48"),
        (120, "--rho mixture could calibrate the teacher of no cycle (in the last: "),
    ],
)
def test_what_never_calibrates_says_once_that_a_threshold_stood_in(
    images, says, student, tmp_path, capsys
):
    """Noise under random labels; the run keeps the warning, and in which steps it was so."""
    run = tmp_path / "run"
    pixels = np.random.default_rng(0).integers(0, 255, (images, 12, 12), np.uint8)
    labels = np.arange(images) % 3
    np.savez(tmp_path / "pack.npz", images=pixels, labels=labels, classes=np.array(["a", "b", "c"]))
    words = ["train", "mile", "--images", str(tmp_path / "pack.npz"), "--out", str(run), *QUICK]
    words += ["--rho", "mixture", "--student", student, "--val-fraction", "0"]
    for attempt in (words, ["resume", str(run)]):
        assert main(attempt) == 0
        assert capsys.readouterr().err.count("--rho mixture") == 1
        (said,) = (
            w for w in json.loads((run / "run.json").read_text())["warnings"] if "mixture" in w
        )
        assert said.startswith(says if attempt is words or images < 100 else says.split(" (")[0])
        assert "cut at rho 0.25" in said
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert {line["calibrated"] for line in lines if "calibrated" in line} == {0.0}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--soft-sets"], "--soft-sets teaches probabilities of presence: it needs --rho mixture"),
        (["--rho", "mixture", "--targets", "soft"], "--rho has no effect with --targets soft"),
        (["--rho", "1.5"], "rho must lie in (0, 1) or be mixture, got 1.5"),
    ],
)
def test_what_does_not_go_together(pack, tmp_path, words, says, capsys):
    given = ["train", "mile", "--images", str(pack), "--out", str(tmp_path / "run"), *QUICK]
    assert main([*given, *words]) == 2
    assert says in capsys.readouterr().err
