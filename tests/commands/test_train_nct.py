"""NCT from the command line: train, compare with true labels, probe."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from reteach.cli import main
from reteach.labels import Single
from reteach.runs.checkpoint import load_models
from reteach.tables import LabelTable, write_labels

SMALL = ["--model", "reteach_tiny", "--batch-size", "16", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eighty grey pictures, a quarter of them mislabelled, and forty-eight to test on."""
    where = tmp_path_factory.mktemp("nct")
    generator = np.random.default_rng(0)
    index = np.arange(128) % 3
    images = (
        generator.integers(0, 60, (128, 8, 8), np.uint8)
        + (index * 90).astype(np.uint8)[:, None, None]
    )
    names = np.array(["ant", "bee", "cat"])
    np.savez(where / "x.npz", images=images[:80])
    np.savez(where / "test.npz", images=images[80:], labels=index[80:], classes=names)
    items = tuple(map(str, range(80)))
    wrong = index[:80].copy()
    wrong[::4] = (wrong[::4] + 1) % 3
    for file, labels in (("clean.csv", index[:80]), ("noisy.csv", wrong)):
        write_labels(where / file, LabelTable(items, Single(labels, tuple(names))))
    short = LabelTable(items[:50], Single(index[:50], tuple(names)))
    write_labels(where / "short.csv", short)
    return where


def given(folder, labels="noisy.csv"):
    return ["--images", str(folder / "x.npz"), "--labels", str(folder / labels), *SMALL]


def test_train_with_another_peer_then_probe(folder, capsys):
    run = folder / "run"
    words = ["train", "nct", *given(folder), "--target-variability", "0.5", "--steps", "8"]
    assert main([*words, "--peer-model", "reteach_small", "--out", str(run)]) == 0
    saved = load_models(run, "cpu")
    assert list(saved.predictors) == ["ensemble", "first", "second"]
    sizes = [sum(p.numel() for p in m.parameters()) for m in saved.predictor.models]
    assert sizes[0] != sizes[1]
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [r for r in records if r["kind"] == "train"]
    assert trained[-1]["step"] == 4  # eight backward passes
    assert {"first_loss", "second_loss", "agreement", "alpha", "target_variability"} <= trained[
        0
    ].keys()
    words = [
        "probe",
        "compression",
        str(run),
        "--images",
        str(folder / "test.npz"),
        "--epochs",
        "2",
    ]
    assert main([*words, "--device", "cpu", "--seeds", "2", "--out", str(folder / "c.json")]) == 0
    assert "training accuracy on random binary labels" in capsys.readouterr().out
    curves = json.loads((folder / "c.json").read_text())["accuracy"][str(run)]
    assert np.shape(curves) == (2, 2)
    own = [*words[:3], "--epochs", "2", "--device", "cpu", "--seeds", "1"]
    assert main([*own, "--out", str(folder / "own.json")]) == 0  # on the run's own images
    assert main([*own, "--labels", str(folder / "clean.csv")]) == 2
    assert "--labels needs --images" in capsys.readouterr().err


def test_compare_with_true_labels(folder):
    out = folder / "comparison.html"
    words = [
        "compare",
        "softmax",
        "nct",
        "dml",
        *given(folder),
        "--clean",
        str(folder / "clean.csv"),
    ]
    words += ["--test-images", str(folder / "test.npz"), "--seeds", "2", "--epochs", "4"]
    assert main([*words, "--processes", "1", "--out", str(out)]) == 0
    results = json.loads((folder / "results.json").read_text())
    for name in ("softmax", "nct", "dml"):
        row = results[name]
        assert {
            "accuracy",
            "best",
            "last",
            "mean10",
            "right_accuracy",
            "wrong_accuracy",
        } <= row.keys()
        assert row["best"]["mean"] >= row["last"]["mean"] == row["accuracy"]["mean"]
        assert row["best"]["n"] == 2
    page = out.read_text()
    assert "Fit of wrong labels" in page
    content = json.loads((folder / "comparison" / "comparison.json").read_text())
    history = next(row for row in content["rows"] if row["name"] == "nct")["history"][0]
    assert [record["step"] for record in history] == [4, 8, 9]  # per epoch, and at the end
    assert all("wrong_loss" in record for record in history)
    test = [record["accuracy"] for record in history]
    assert results["nct"]["mean10"]["n"] == 2
    assert max(test) >= test[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target-variability", "1.5"], "--target-variability must lie in [0, 1], got 1.5"),
        (
            ["--target-variability", "0.1", "--least-variability", "0.2"],
            "--target-variability 0.1 is below --least-variability 0.2",
        ),
        (["--peer-model", "resnet1O"], "unknown model 'resnet1O'"),
    ],
)
def test_bad_settings_are_one_line(folder, capsys, words, message):
    out = folder / "refused"
    assert main(["train", "nct", *given(folder), *words, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_true_labels_of_other_items_are_refused(folder, capsys):
    words = ["compare", "softmax", *given(folder), "--clean", str(folder / "short.csv")]
    words += ["--out", str(folder / "refused"), "--processes", "1"]
    assert main(words) == 2
    assert "items have no true label there, first:" in capsys.readouterr().err


def test_epochs_that_are_balanced_over_the_classes(folder, capsys):
    run = folder / "balanced"
    words = ["train", "nct", *given(folder), "--balanced-epoch", "3", "--epochs", "4"]
    words += ["--schedule", "drop", "--lr", "0.01", "--val-fraction", "0", "--out", str(run)]
    assert main(words) == 0
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    alpha = {r["step"]: r["alpha"] for r in records if r["kind"] == "train"}
    assert max(alpha) == 6  # two epochs of three batches for each network
    assert alpha[1] == alpha[3] < alpha[4] == alpha[6]
    for more, reason in (
        (["--balanced-epoch", "0"], "--balanced-epoch must be at least 1"),
        (["--balanced-epoch", "2", "--rebalance"], "give one of them"),
        (["--rebalance", "1.5"], "--rebalance must lie in [0, 1], got 1.5"),
        (["--schedule", "drop", "--drop-at", "2"], "--drop-at must lie in [0, 1]"),
    ):
        assert main(["train", "nct", *given(folder), *more, "--out", str(folder / "bad")]) == 2
        assert reason in capsys.readouterr().err


def test_a_comparison_reads_and_draws_as_it_is_told(folder):
    """Class-balanced epochs of two batches: four steps in all, which passes would not give."""
    out = folder / "drawn"
    words = ["compare", "softmax", *given(folder), "--balanced-epoch", "2", "--resident"]
    words += ["--epochs", "2", "--seeds", "1", "--processes", "1", "--out", str(out)]
    assert main(words) == 0
    assert json.loads((out / "comparison.json").read_text())["budget"]["steps"] == 4


def test_rivals_are_rows_of_a_comparison(folder):
    """Beside true labels, on one budget; what two networks see is half of it for each."""
    methods = ["mixup", "co-teaching", "m-correction", "divide-mix"]
    words = ["compare", *methods, *given(folder), "--clean", str(folder / "clean.csv")]
    words += ["--test-images", str(folder / "test.npz"), "--seeds", "1", "--epochs", "4"]
    words += ["--set", "forget=0.25", "forget_epochs=1", "--out", str(folder / "rivals")]
    assert main([*words, "--processes", "1"]) == 0
    results = json.loads((folder / "rivals" / "results.json").read_text())
    assert set(methods) <= results.keys()
    assert all("wrong_accuracy" in results[name] for name in methods)


def test_the_method_mixup_is_softmax_with_mixup(folder):
    for name, words in (("m", ["mixup", "--alpha", "0.4"]), ("s", ["softmax", "--mixup", "0.4"])):
        out = ["--steps", "6", "--out", str(folder / name)]
        assert main(["train", *words, *given(folder), *out]) == 0
    m, s = (load_models(folder / n, "cpu").predictor.models[0].state_dict() for n in "ms")
    assert all(torch.equal(m[key], s[key]) for key in m)


@pytest.mark.parametrize("words", [["--forget-epochs", "100"], ["--forget-epochs", "20"]])
def test_a_share_that_never_rises_is_warned_of(folder, words, capsys):
    out = ["--steps", "4", "--forget", "0.1", "--out", str(folder / f"never{words[1]}")]
    assert main(["train", "co-teaching", *given(folder), *out, *words]) == 0
    assert "--forget has no effect" in capsys.readouterr().err
