"""``reteach train semi`` as a user types it: the run folder, interruption and faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from reteach.cli import main
from reteach.data.loading.stream import Stream
from reteach.runs.checkpoint import load_models
from tests.commands.test_train import photo
from words import override

NAMES = ("dark", "grey", "light")
QUICK = ["--image-size", "16", "--workers", "0", "--device", "cpu", "--batch-size", "8"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labelled/ with labels.csv, and web/ with 45 images of which one is broken."""
    root = tmp_path_factory.mktemp("semi")
    lines = ["item,labels"]
    for i in range(30):
        photo(root / "labelled" / f"{i:02}.png", 70 * (i % 3), i)
        lines.append(f"{i:02}.png,{NAMES[i % 3]}")
    for i in range(45):
        photo(root / "web" / f"{i:02}.jpg", 70 * (i % 3), 100 + i)
    (root / "web" / "broken.jpg").write_bytes(b"no image")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def command(world: Path, out: Path, *more: str) -> list[str]:
    data = ["--images", f"{world}/labelled", "--labels", f"{world}/labels.csv"]
    models = ["--teacher", "reteach_small", "--student", "reteach_tiny"]
    sizes = ["--unlabeled", f"{world}/web", "--per-class", "10", "--top", "3", "--steps", "30"]
    words = [*data, *models, *sizes, *QUICK, "--out", str(out), *more]
    return override("train", "semi", *words)


def test_the_issue_command_survives_a_crash(world, tmp_path, capsys):
    assert main(command(world, tmp_path / "whole")) == 0
    batches = Stream.batches

    def crashing(self, start, stop):
        for batch in batches(self, start, stop):
            if self.name == "pretrain" and batch.step == 12:
                raise KeyboardInterrupt
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "batches", crashing)
        assert main(command(world, tmp_path / "run")) == 130
    capsys.readouterr()
    assert main(["resume", str(tmp_path / "run")]) == 0
    for name in ("student", "pretrained", "teacher"):
        a, b = (
            load_file(tmp_path / run / "models" / name / "model.safetensors")
            for run in ("whole", "run")
        )
        assert all(torch.equal(a[key], b[key]) for key in a)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["n_train"], facts["n_unlabeled"], facts["n_quarantined"]) == (27, 45, 1)
    picks = pq.read_table(tmp_path / "run" / "picks.parquet")
    assert np.bincount(picks["class"].to_numpy()).tolist() == [10, 10, 10]
    judged = json.loads((tmp_path / "run" / "evaluation.json").read_text())["val"]
    assert list(judged) == ["student", "pretrained", "teacher"]
    saved = load_models(tmp_path / "run", "cpu")
    kinds = [type(p.models[0]).__name__ for p in saved.predictors.values()]
    assert kinds == ["SmallNet"] * 3
    widths = [p.models[0].head_hidden_size for p in saved.predictors.values()]
    assert widths == [64, 64, 576], "the teacher has an architecture of its own"


def test_a_run_as_the_teacher_and_picks_of_elsewhere(world, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command(world, tmp_path / "first")) == 0
    words = command(
        world, tmp_path / "second", "--teacher-run", "first", "--finetune-lr", "0.1", "0.01"
    )
    del words[words.index("--teacher") : words.index("--teacher") + 2]
    assert main(words) == 0
    assert "rate of fine-tuning" in capsys.readouterr().err
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["resume", str(tmp_path / "second")]) == 0, "paths do not depend on where one is"
    words[words.index("--out") + 1] = str(tmp_path / "third")
    at = words.index("--teacher-run")
    words[at : at + 2] = ["--picks", str(tmp_path / "first" / "picks.parquet")]
    assert main(words) == 2, "K is for those who select"
    assert "--per-class has no effect with --picks" in capsys.readouterr().err
    for flag in ("--per-class", "--top"):
        del words[words.index(flag) : words.index(flag) + 2]
    assert main(words) == 0
    assert not (tmp_path / "third" / "picks.parquet").exists()


def test_the_teacher_of_a_run_may_be_any_of_its_models(world, tmp_path, capsys):
    """By default the first, of a run of semi its student."""
    assert main(command(world, tmp_path / "first")) == 0

    def second(name: str, *more: str) -> list[Any]:
        words = command(world, tmp_path / name, "--teacher-run", str(tmp_path / "first"), *more)
        del words[words.index("--teacher") : words.index("--teacher") + 2]
        if main(words) != 0:
            return []
        return pq.read_table(tmp_path / name / "picks.parquet").to_pylist()

    student, teacher = second("by-default"), second("teacher", "--teacher-predictor", "teacher")
    assert student == second("by-name", "--teacher-predictor", "student")
    assert student != teacher
    assert teacher == pq.read_table(tmp_path / "first" / "picks.parquet").to_pylist(), "as there"
    capsys.readouterr()
    assert second("none", "--teacher-predictor", "techer") == []
    assert "the run has no model 'techer'; did you mean teacher" in capsys.readouterr().err


def test_of_a_pile_with_tags_only_tagged_images_are_opened(world, tmp_path, capsys):
    """What is drawn by tags needs no other: rubbish among the others changes nothing and is not even seen."""
    tagged = ["item,labels", *(f"{n:02}.jpg,{NAMES[n % 3]}" for n in range(36))]
    (tmp_path / "tags.csv").write_text("\n".join([*tagged, "40.jpg,", "gone.jpg,dark"]) + "\n")
    rubbish = tmp_path / "web"
    shutil.copytree(world / "web", rubbish)
    for n in range(36, 45):
        (rubbish / f"{n}.jpg").write_bytes(b"no image")
    weights = []
    for name, pile in (("whole", world / "web"), ("rubbish", rubbish)):
        words = command(world, tmp_path / name, "--unlabeled", str(pile), "--steps", "20")
        for flag in ("--teacher", "--top", "--per-class"):
            del words[words.index(flag) : words.index(flag) + 2]
        words += ["--selection", "balanced-with-tags", "--tags", str(tmp_path / "tags.csv")]
        assert main(words) == 0
        said = capsys.readouterr().err
        assert "36 of 46 unlabelled images have tags; no other is opened" in said
        facts = json.loads((tmp_path / name / "run.json").read_text())
        assert (facts["n_unlabeled"], facts["n_quarantined"]) == (36, 0)
        assert facts["derived"]["per_class"] == 10, "K is by the ratio of the pile, not of the tags"
        weights.append(load_file(tmp_path / name / "models" / "student" / "model.safetensors"))
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--per-class", "0"], "--per-class must be at least 1, got 0"),
        (["--top", "4"], "P, the classes per item, is 4, but there are only 3 classes"),
        (["--teacher", "resnet5o"], "unknown model 'resnet5o'; did you mean resnet50"),
        (["--picks", "missing.parquet"], "missing.parquet does not exist"),
        (["--exclude", "missing.txt"], "missing.txt"),
        (
            ["--exclude", "{root}/drop.txt", "{root}/other.csv"],
            "other.csv: none of its 1 items is in",
        ),
        (["--model", "resnet50"], "--model resnet50 has no effect beside --student reteach_tiny"),
    ],
)
def test_faults_are_one_line(world, tmp_path, capsys, more, words):
    (world / "drop.txt").write_text("00.jpg\n01.jpg\nelsewhere.jpg\n")
    (world / "other.csv").write_text("item\nweb/02.jpg\n")
    more = [word.format(root=world) for word in more]
    assert main(command(world, tmp_path / "run", *more)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("reteach:")]
    assert len(said) == 1
    assert words in said[0]
    assert not (tmp_path / "run").exists(), "a fault is found before anything is trained"


def test_several_exclude_lists_go_with_the_run(world, tmp_path, capsys, monkeypatch):
    """They are read again when it is resumed from elsewhere, and what they exclude is said."""
    (world / "a.txt").write_text("00.jpg\n01.jpg\nelsewhere.jpg\n")
    (world / "b.csv").write_text("item\n02.jpg\n")
    monkeypatch.chdir(world)
    words = command(world, tmp_path / "run", "--per-class", "45", "--top", "1")
    assert main([*words, "--exclude", "a.txt", "b.csv"]) == 0
    assert f"{world}/a.txt: 2 of its 3 items are in the unlabelled" in capsys.readouterr().err
    picked = set(pq.read_table(tmp_path / "run" / "picks.parquet")["item"].to_pylist())
    assert len(picked) == 42
    assert not picked & {"00.jpg", "01.jpg", "02.jpg"}
    monkeypatch.chdir(tmp_path)
    assert main(["resume", str(tmp_path / "run")]) == 0


def test_a_teacher_of_other_classes_is_refused(world, tmp_path, capsys):
    assert main(command(world, tmp_path / "first")) == 0
    (tmp_path / "two.csv").write_text(
        "item,labels\n" + "".join(f"{i:02}.png,{'ab'[i % 2]}\n" for i in range(30))
    )
    words = command(world, tmp_path / "run", "--teacher-run", str(tmp_path / "first"))
    words[words.index("--labels") + 1] = str(tmp_path / "two.csv")
    words[words.index("--top") + 1] = "2"
    del words[words.index("--teacher") : words.index("--teacher") + 2]
    assert main(words) == 2
    assert (
        "was trained on another class list: 'a' is in one of them only" in capsys.readouterr().err
    )


@pytest.fixture(scope="module")
def piles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 labelled and 3,000 unlabelled images of ten classes: each a bright row of pixels of its own."""
    root = tmp_path_factory.mktemp("ten")
    rng = np.random.default_rng(0)
    for name, size in (("labelled", 100), ("web", 3_000)):
        index = np.arange(size) % 10
        images = rng.integers(0, 120, (size, 12, 12), np.uint8)
        images[np.arange(size), index + 1] += 100
        labels = {"labels": index, "classes": np.array([f"row {c}" for c in range(10)])}
        np.savez(root / f"{name}.npz", images=images, **(labels if name == "labelled" else {}))
    return root


def ten(piles: Path, out: Path, *more: str) -> list[str]:
    data = ["--images", f"{piles}/labelled.npz", "--unlabeled", f"{piles}/web.npz"]
    words = ["--model", "reteach_tiny", "--optimizer", "adam", "--lr", "0.01", "--steps", "120"]
    words += ["--batch-size", "16", "--device", "cpu", "--val-fraction", "0.3", "--out", str(out)]
    return ["train", "semi", *data, *words, *more]


def test_the_default_k_on_3000_images_of_ten_classes(piles, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(ten(piles, out)) == 0
    assert "--per-class 48: by the paper's ratio, for 3,000 unlabelled" in capsys.readouterr().err
    assert json.loads((out / "run.json").read_text())["derived"] == {"per_class": 48}
    picks = pq.read_table(out / "picks.parquet")
    assert len(picks) <= 480
    assert len(picks) / len(set(picks["item"].to_pylist())) < 2
    judged = json.loads((out / "evaluation.json").read_text())["val"]
    assert judged["pretrained"]["metrics"]["accuracy"] > 0.5, "chance is 0.1"


def test_k_too_large_for_3000_images_is_refused_before_the_teacher(piles, tmp_path, capsys):
    for k in ("16000", "2000"):
        assert main(ten(piles, tmp_path / k, "--per-class", k)) == 2
        said = capsys.readouterr().err.splitlines()
        assert said[-1].startswith("reteach: K = ")
        assert said[-1].endswith("give --per-class 48")
        assert not (tmp_path / k).exists(), "no teacher was trained"
