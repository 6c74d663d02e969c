"""Machines without a common disk train as one: the first one's disk has the run folder, and no other."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import nodes
from reteach.cli import main
from reteach.engine import run as engine
from reteach.engine import snapshot

QUICK = [
    "--device",
    "cpu",
    "--workers",
    "0",
    "--batch-size",
    "8",
    "--model",
    "reteach_tiny",
    "--lr",
    "0.05",
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder of classes of small pictures, for each machine to copy."""
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 120)):
        (folder / name).mkdir()
        for number in range(12):
            pixels = (draw.integers(0, 80, (8, 8, 3)) + level).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def command(method: str, steps: int, *more: str) -> list[str]:
    words = ["train", method, "--images", "photos", "--out", "run", "--steps", str(steps)]
    return [*words, "--eval-every", "4", *QUICK, *more]


def on_own_disk(photos: Path) -> None:
    if not Path("photos").exists():
        shutil.copytree(photos, "photos", dirs_exist_ok=True)


def trains(photos: Path, words: list[str], before: Callable[[], None] | None = None) -> str:
    """The command, on a machine that has the photos and nothing else."""
    os.environ["XDG_CACHE_HOME"] = str(Path.cwd() / "cache")
    if os.environ["LOCAL_RANK"] == "0":
        on_own_disk(photos)
        Path("there").touch()
    else:
        while not Path("there").exists():
            pass
    if before is not None:
        before()
    code = main(words)
    return f"{code} {sorted(p.name for p in Path.cwd().iterdir())}"


def alone(photos: Path, folder: Path, words: list[str]) -> Path:
    folder.mkdir()
    on = os.getcwd()
    os.chdir(folder)
    try:
        on_own_disk(photos)
        assert main(words) == 0
    finally:
        os.chdir(on)
    return folder / "run"


def losses(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    return [{k: v for k, v in line.items() if k != "kind"} for line in lines]


def same(one: Path, other: Path, tolerance: float = 1e-5) -> None:
    a, b = losses(one), losses(other)
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for name, value in x.items():
            if isinstance(value, float):
                assert value == pytest.approx(y[name], abs=tolerance), (name, x, y)
            else:
                assert value == y[name]
    for file in one.glob("models/*/model*.safetensors"):
        first, second = load_file(file), load_file(other / file.relative_to(one))
        assert all(torch.allclose(first[n].float(), second[n].float(), atol=1e-4) for n in first)


HAS_RUN = "0 ['cache', 'photos', 'run', 'there']"
HAS_NONE = "0 ['cache', 'photos', 'there']"


def test_two_nodes_of_two_processes_train_as_one(photos, tmp_path):
    """Every machine has its own copy of the photos; the run folder is on the first one's disk alone."""
    words = command("mile", 12, "--k-t", "3", "--relabel", "cycle", "--patience", "9")
    run = alone(photos, tmp_path / "alone", words)
    said = nodes.played(trains, tmp_path, 4, 2, photos, words)
    assert said == [HAS_RUN, HAS_RUN, HAS_NONE, HAS_NONE]
    same(run, tmp_path / "node0" / "run")


KILLED_AT = 6


def killed_in_the_middle() -> None:
    """The last process dies as by ``kill -9``, after a snapshot of all of them."""
    step = engine._Loop._save

    def save(self: engine._Loop, done: int) -> None:
        step(self, done)
        if done >= KILLED_AT and os.environ["RANK"] == "3":
            os.kill(os.getpid(), 9)

    engine._Loop._save = save  # type: ignore[method-assign]


def test_a_rank_that_is_killed_costs_nothing_though_the_restart_numbers_the_nodes_anew(
    photos, tmp_path
):
    """The run folder is on one disk, whose node is the second one after the restart: it goes first all the
    same, and the run goes on from its snapshot."""
    words = command("softmax", 12, "--snapshot-seconds", "0")
    run = alone(photos, tmp_path / "alone", words)
    said = nodes.played(trains, tmp_path, 4, 2, photos, words, killed_in_the_middle, lost=(3,))
    assert said == [HAS_RUN.replace("0", "2", 1)] * 2 + [HAS_NONE.replace("0", "2", 1)]
    begun = tmp_path / "node0" / "run"
    assert KILLED_AT <= snapshot.steps_in(begun / "stages/train/snapshot.pt") < 12
    again = nodes.played(trains, tmp_path, 4, 2, photos, ["resume", "run"], turned=1)
    assert again == [HAS_RUN, HAS_RUN, HAS_NONE, HAS_NONE]
    same(run, begun)


def another_image() -> None:
    if os.environ["RANK"] == "1":
        Image.new("RGB", (8, 8)).save("photos/dark/3.png")


def one_image_less() -> None:
    if os.environ["RANK"] == "1":
        Path("photos/dark/3.png").unlink(missing_ok=True)


def another_rate() -> None:
    if os.environ["RANK"] == "1":
        WORDS[WORDS.index("--lr") + 1] = "0.1"


WORDS = command("softmax", 4)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (another_image, "image 'dark/3.png' of process 1 on "),
        (one_image_less, "image 'dark/3.png' is not the same one on all machines"),
        (another_rate, "process 1 on "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_the_same_on_two_machines_is_refused_in_one_line(
    photos, tmp_path, capfd, before, said
):
    told = nodes.played(trains, tmp_path, 2, 1, photos, WORDS, before)
    assert [text[0] for text in told] == ["2", "2"]
    lines = [line for line in capfd.readouterr().err.splitlines() if "reteach: " in line]
    assert len(lines) == 1
    assert said in lines[0]
    if before is another_rate:
        assert "rate.peak: 0.1 there, 0.05 in the first" in lines[0]


@pytest.mark.skipif(not os.environ.get("RETEACH_NODES_LONG"), reason="RETEACH_NODES_LONG=1")
def test_shared_out_models_end_as_a_run_folder_of_one_process(photos, tmp_path):
    """--shard-model on own disks: the first writes whole models, and the whole of a snapshot."""
    words = command("softmax", 8, "--patience", "9")
    run = alone(photos, tmp_path / "alone", words)
    said = nodes.played(trains, tmp_path, 2, 1, photos, [*words, "--shard-model"])
    assert said == [HAS_RUN, HAS_NONE]
    same(run, tmp_path / "node0" / "run")
    assert main(["predict", str(tmp_path / "node0/run"), "--images", str(photos)]) == 0


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--shard-model", "--compile"], "--compile has no effect with --shard-model"),
        (["--shard-model", "--precision", "fp16"], "--precision bf16 or fp32"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_in_one_line(photos, tmp_path, capfd, more, why):
    words = command("softmax", 4, *more)
    assert [t[0] for t in nodes.played(trains, tmp_path, 2, 1, photos, words)] == ["2", "2"]
    said = [line for line in capfd.readouterr().err.splitlines() if "reteach: " in line]
    assert len(said) == 1
    assert why in said[0]


def test_one_process_has_nobody_to_share_a_model_with(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    on_own_disk(photos)
    assert main(command("softmax", 4, "--shard-model")) == 2
    assert "--shard-model has no effect in a single process" in capsys.readouterr().err
