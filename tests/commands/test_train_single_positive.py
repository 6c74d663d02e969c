"""The single-positive family from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reteach.cli import main

QUICK = [
    *("--model", "reteach_tiny", "--workers", "0", "--device", "cpu"),
    *("--steps", "6", "--batch-size", "8"),
]


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    root = tmp_path_factory.mktemp("family")
    generator = np.random.default_rng(0)
    labels = np.arange(32) % 4
    images = generator.integers(0, 120, (32, 12, 12)) + 30 * labels[:, None, None]
    np.savez(
        root / "pack.npz",
        images=images.astype(np.uint8),
        labels=labels,
        classes=np.array(["a", "b", "c", "d"]),
    )
    return root


@pytest.mark.parametrize(
    "words",
    [
        ["an-ls"],
        ["wan"],
        ["epr", "--expected", "2"],
        ["role", "--expected", "2"],
        ["em-apl", "--rounds", "2"],
        ["large-loss", "--surprise", "correct"],
        ["large-loss", "--surprise", "permanent", "--share", "0.2"],
    ],
    ids=" ".join,
)
def test_the_family_trains(pack, words):
    out = pack / "-".join(words)
    assert main(["train", *words, "--images", f"{pack}/pack.npz", "--out", str(out), *QUICK]) == 0
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    assert json.loads((out / "models" / "index.json").read_text())["method"] == words[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["epr"], "--expected"),
        (["role", "--expected", "5"], "--expected must lie in (0, 4]"),
        (["an-ls", "--smoothing", "0.5"], "--smoothing must lie in [0, 0.5)"),
        (["em-apl", "--negatives", "2"], "--negatives"),
        (["em-apl", "--rounds", "-1"], "--rounds"),
        (["large-loss", "--share", "1"], "--share must lie in [0, 1)"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_settings_are_one_line(pack, words, says, capsys):
    assert main(["train", *words, "--images", f"{pack}/pack.npz", *QUICK]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert len([line for line in told.splitlines() if line.startswith("reteach: ")]) == 1
