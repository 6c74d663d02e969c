"""``reteach transfer`` on small photos: both modes, what they leave behind, and faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reteach import sealed
from reteach.analysis.compression import features
from reteach.cli import main
from reteach.data.dataset import Dataset
from reteach.data.sources.base import open_source
from reteach.runs.checkpoint import load_models
from tests.commands.test_train import photo
from words import override

SMALL = ["--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on three kinds of photos, and birds/ in two class folders."""
    root = tmp_path_factory.mktemp("transfer")
    for i in range(24):
        photo(root / "photos" / ("dark", "grey", "light")[i % 3] / f"{i:02}.png", 70 * (i % 3), i)
    for i in range(40):
        photo(root / "birds" / ("crow", "dove")[i % 2] / f"{i:02}.png", 150 * (i % 2), 50 + i)
    words = ["train", "softmax", "--images", f"{root}/photos", "--model", "reteach_tiny"]
    words += ["--image-size", "16", "--steps", "20", "--batch-size", "8", "--out", f"{root}/run"]
    assert main([*words, *SMALL]) == 0
    return root


def command(world: Path, mode: str, out: Path, *more: str) -> list[str]:
    given = ["transfer", f"{world}/run", "--images", f"{world}/birds", "--mode", mode]
    return override(*given, *SMALL, "--val-fraction", "0.25", "--out", str(out), *more)


def test_fc_only(world, tmp_path, capsys):
    assert main(command(world, "fc-only", tmp_path / "out", "--folds", "3")) == 0
    said = capsys.readouterr().out
    assert "over 3 folds" in said
    found = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert (found["train"], found["val"], found["predictor"]) == (30, 10, "model")
    assert found["metrics"]["accuracy"] > 0.8, "dark and light birds"
    assert found["C"] == min(
        (float(c) for c, a in found["cross_validation"].items()
         if a == max(found["cross_validation"].values())),
    )  # fmt: skip
    before, after = load_models(world / "run", "cpu"), load_models(tmp_path / "out", "cpu")
    assert after.classes == ("crow", "dove")
    data = Dataset.unlabeled(open_source(world / "birds"), after.classes)
    x = features(before.predictor.models[0], before.scan(data, 16, 0))
    torch.testing.assert_close(
        x, features(after.predictor.models[0], after.scan(data, 16, 0)), rtol=0, atol=0
    )
    words = ["evaluate", f"{tmp_path}/out", "--images", f"{world}/birds", "--device", "cpu"]
    assert main(words) == 0
    judged = json.loads((tmp_path / "out" / "evaluation-birds.json").read_text())["metrics"]
    assert judged["model"]["accuracy"] > 0.8


def test_freeze_is_train_softmax_freeze_from_the_run(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RETEACH_FEATURES", str(tmp_path / "cache"))
    how = ["--steps", "12", "--batch-size", "8", "--lr", "0.1", "--weight-decay", "0.001"]
    assert main(command(world, "full-ft", tmp_path / "one", "--freeze", *how)) == 0
    words = ["train", "softmax", "--images", f"{world}/birds", "--init", f"{world}/run", "--freeze"]
    words += [*SMALL, "--val-fraction", "0.25", *how, "--schedule", "drops"]
    assert main([*words, "--out", f"{tmp_path}/two"]) == 0
    one, two = (load_file(tmp_path / n / "models/model/model.safetensors") for n in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    before = load_models(world / "run", "cpu").predictor.models[0].state_dict()
    same = [n for n, t in before.items() if n in one and torch.equal(t, one[n])]
    assert len(same) >= len(before) - 2, "all but the output layer"
    capsys.readouterr()
    for more, said in {
        ("fc-only", "--freeze"): "--freeze has no effect without --mode full-ft",
        ("full-ft", "--freeze", "--predictor", "model"): "--predictor has no effect with --freeze",
        ("full-ft", "--freeze", "--augment", "crop"): "--augment has no effect with --freeze",
    }.items():
        assert main(command(world, more[0], tmp_path / "no", *more[1:])) == 2
        assert said in capsys.readouterr().err


def test_the_held_out_images_have_no_say(world, tmp_path):
    """Other labels on them change the judgement, and nothing else."""
    items = sorted(open_source(world / "birds").items)
    held = items[::4]
    heads = []
    for number, flip in enumerate((False, True)):
        lines = {"train": ["item,labels"], "val": ["item,labels"]}
        for item in items:
            name = item.split("/")[0]
            if item in held:
                name = {"crow": "dove", "dove": "crow"}[name] if flip else name
            lines["val" if item in held else "train"].append(f"{item},{name}")
        for kind, text in lines.items():
            (tmp_path / f"{kind}.csv").write_text("\n".join(text) + "\n")
        out = tmp_path / str(number)
        words = command(world, "fc-only", out, "--folds", "2")
        del words[words.index("--val-fraction") : words.index("--out")]
        words += ["--labels", f"{tmp_path}/train.csv", "--val-labels", f"{tmp_path}/val.csv"]
        assert main(words) == 0
        heads.append(load_file(out / "models" / "model" / "model.safetensors"))
        accuracy = json.loads((out / "transfer.json").read_text())["metrics"]["accuracy"]
        assert (accuracy < 0.2) == flip
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])


def test_full_ft_starts_from_the_weights_of_the_run(world, tmp_path):
    more = ["--steps", "1", "--lr", "1e-12", "--batch-size", "8"]
    assert main(command(world, "full-ft", tmp_path / "still", *more)) == 0
    a = load_file(world / "run" / "models" / "model" / "model.safetensors")
    b = load_file(tmp_path / "still" / "models" / "model" / "model.safetensors")
    assert b["head.weight"].shape == (2, 64)
    for key in a:
        if "head" not in key and "running" not in key and "tracked" not in key:
            torch.testing.assert_close(a[key], b[key], rtol=0, atol=1e-9)
    assert (
        main(
            command(
                world,
                "full-ft",
                tmp_path / "out",
                "--epochs",
                "20",
                "--batch-size",
                "8",
                "--lr",
                "0.05",
            )
        )
        == 0
    )
    judged = json.loads((tmp_path / "out" / "evaluation.json").read_text())["val"]["model"]
    assert judged["metrics"]["accuracy"] > 0.8
    text = (tmp_path / "out" / "config.yaml").read_text()
    assert "schedule: drops" in text
    assert "weight_decay: 0.001" in text
    assert main(["resume", f"{tmp_path}/out"]) == 0


def test_full_ft_has_the_settings_of_the_paper(world, tmp_path):
    assert main(command(world, "full-ft", tmp_path, "--batch-size", "16", "--epochs", "1")) == 0
    text = (tmp_path / "config.yaml").read_text()
    assert f"lr: {0.0025 / 256 * 16}" in text


def test_full_ft_keeps_the_normalisation_of_the_run(world, tmp_path):
    """Of weights that a run began from, and that wanted pixels as they are: no architecture's default."""
    run = tmp_path / "run"
    shutil.copytree(world / "run", run)
    other = {"mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 4.0]}
    for file in (run / "models" / "index.json", run / "models" / "model" / "config.json"):
        found = json.loads(file.read_text())
        found.update(other) if "mean" in found else found["pretrained_cfg"].update(other)
        sealed.write_json(file, found)
    words = command(world, "full-ft", tmp_path / "out", "--steps", "1", "--batch-size", "8")
    words[1] = str(run)
    assert main(words) == 0
    before, after = load_models(run, "cpu"), load_models(tmp_path / "out", "cpu")
    assert after.prepare == before.prepare
    assert after.prepare.std == (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("mode", "more", "words"),
    [
        ("fc-only", ["--folds", "1"], "--folds must be at least 2, got 1"),
        ("fc-only", ["--val-fraction", "0"], "judged on images of its own"),
        ("fc-only", ["--lr", "0.1"], "--lr has no effect with --mode fc-only"),
        ("fc-only", ["--rebalance"], "--rebalance has no effect with --mode fc-only"),
        (
            "fc-only",
            ["--shuffle-shards", "2"],
            "--shuffle-shards has no effect with --mode fc-only",
        ),
        ("full-ft", ["--folds", "3"], "--folds has no effect with --mode full-ft"),
        ("fc-only", ["--predictor", "techer"], "the run has no model 'techer'"),
        ("full-ft", ["--predictor", "techer"], "the run has no model 'techer'"),
        ("full-ft", ["--images", "missing"], "missing does not exist"),
        ("full-ft", ["--unlabeled", "."], "--unlabeled has no effect with --mode full-ft"),
        ("fc-only", ["--epochs", "5"], "--epochs has no effect with --mode fc-only"),
        ("fc-only", ["--wandb", "mine"], "--wandb has no effect with --mode fc-only"),
    ],
)
def test_faults_are_one_line(world, tmp_path, capsys, mode, more, words):
    assert main(command(world, mode, tmp_path / "out", *more)) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("reteach:")]
    assert words in line


def test_a_folder_with_something_in_it_is_left_alone(world, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(command(world, "fc-only", tmp_path)) == 2
    assert "exists and is not a run folder; use another --out" in capsys.readouterr().err
    assert np.array_equal(sorted(p.name for p in tmp_path.iterdir()), ["mine.txt"])
