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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--soft-sets"], "--soft-sets teaches probabilities of presence: it needs --rho mixture"),
        (["--rho", "mixture", "--lesson", "soft"], "it needs --lesson threshold"),
        (["--rho", "1.5"], "rho must lie in (0, 1) or be mixture, got 1.5"),
    ],
)
def test_what_does_not_go_together(pack, tmp_path, words, says, capsys):
    given = ["train", "mile", "--images", str(pack), "--out", str(tmp_path / "run"), *QUICK]
    assert main([*given, *words]) == 2
    assert says in capsys.readouterr().err
