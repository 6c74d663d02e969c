"""Videos from the command line: trained, stopped, resumed, judged, described; a corrupt one is named."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import films
from reteach import cli
from reteach.data.loading.batch import Batch
from reteach.data.loading.stream import Stream
from reteach.errors import UserError
from reteach.options import shared as options
from reteach.options.methods import MileOptions, SoftmaxOptions
from reteach.options.runs import PredictOptions
from reteach.runs.checkpoint import load_models
from reteach.runs.config import Config
from reteach.runs.train import train as start
from reteach.tables import read_labels
from words import override

pytest.importorskip("av")

SMALL = ("--model", "reteach_video", "--image-size", "16", "--workers", "0", "--device", "cpu")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def videos(home: Path) -> Path:
    root = films.folder(home / "films", each=16)
    (root / "up" / "corrupt.mkv").write_bytes((root / "up" / "0.mkv").read_bytes()[:400])
    return root


def train(videos: Path, out: Path, *more: str) -> dict[str, torch.Tensor]:
    words = ["train", "softmax", "--images", str(videos), "--out", str(out), "--batch-size", "8"]
    words += [
        "--optimizer",
        "adam",
        "--lr",
        "0.01",
        "--val-fraction",
        "0.25",
        "--snapshot-seconds",
        "0",
    ]
    assert cli.main(override(*words, *SMALL, *more)) == 0
    return load_file(out / "models" / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def run(videos: Path, home: Path) -> Path:
    train(videos, home / "run", "--steps", "60", "--frames", "3")
    return home / "run"


def test_motion_is_learned_and_the_corrupt_video_named(run: Path) -> None:
    """Up or down: no still picture tells, so 0.5 would be chance."""
    judged = json.loads((run / "evaluation.json").read_text())["val"]["model"]
    assert judged["metrics"]["accuracy"] >= 0.75
    assert all(example["image"].startswith("data:image/") for example in judged["examples"])
    with open(run / "quarantine.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["item"] == "up/corrupt.mkv"
    assert "video" in row["reason"] or row["reason"] == "truncated file"


def test_evaluate_and_predict(run: Path, home: Path, videos: Path) -> None:
    fresh = films.folder(home / "fresh", each=4)
    assert cli.main(["evaluate", str(run), "--images", str(fresh), "--workers", "0"]) == 0
    out, scores = home / "labels.parquet", home / "scores.parquet"
    assert cli.main(["predict", str(run), "--images", str(fresh), "--out", str(out), "--scores", str(scores),
                     "--workers", "0"]) == 0  # fmt: skip
    table = read_labels(out)
    assert sorted(table.items) == sorted(f"{c}/{n}.mkv" for c in ("up", "down") for n in range(4))
    named = zip(table.items, table.labels.names(), strict=True)
    right = [item.split("/")[0] in names for item, names in named]
    assert np.mean(right) >= 0.75


def test_score_and_select(run: Path, home: Path) -> None:
    """The billion-scale commands take videos as they are."""
    pytest.importorskip("duckdb")
    pile = films.folder(home / "pile", each=3)
    words = ["score", str(run), "--images", str(pile), "--top", "2", "--out", str(home / "scored")]
    assert cli.main([*words, "--workers", "0", "--device", "cpu"]) == 0
    picks = home / "picks.parquet"
    words = ["select", str(home / "scored"), "--per-class", "2", "--top", "2", "--out", str(picks)]
    assert cli.main([*words, "--report", str(home / "p.html"), "--images", str(pile)]) == 0
    assert pq.read_table(picks).num_rows == 4
    assert (home / "p.html").read_text().count("data:image/") == 4
    dup = ["dedup", "--images", str(pile), "--against", str(home / "fresh"), "--workers", "0"]
    assert cli.main([*dup, "--run-folder", str(run), "--out", str(home / "dup.parquet")]) == 0
    pairs = pq.read_table(home / "dup.parquet").to_pylist()
    # the same films, encoded again: other bytes (Matroska numbers its files at random), equal frames
    assert all(pair["item"] == pair["against"] for pair in pairs[:6])
    assert pairs[5]["distance"] < 1e-5 < pairs[6]["distance"]


def test_full_ft_keeps_the_clip_length(run: Path, home: Path, videos: Path) -> None:
    """3 frames, as the run was told, where the network's own are 4."""
    words = ["transfer", str(run), "--images", str(videos), "--steps", "1", "--batch-size", "8"]
    words += ["--workers", "0", "--device", "cpu", "--out", str(home / "tuned")]
    assert cli.main(words) == 0
    before, after = (load_models(folder, "cpu") for folder in (run, home / "tuned"))
    assert (after.frames, after.image_size) == (before.frames, before.image_size) == (3, 16)
    assert after.prepare == before.prepare
    assert "frames: 3" in (home / "tuned" / "config.yaml").read_text()


def test_a_label_table_names_the_videos(home: Path, videos: Path) -> None:
    rows = [f"{c}/{n}.mkv,{'no' if c == 'up' else 'yes'}" for c in ("up", "down") for n in range(6)]
    (home / "labels.csv").write_text("\n".join(["item,labels", *rows]))
    train(videos, home / "table", "--steps", "2", "--labels", str(home / "labels.csv"))
    assert (home / "table" / "report.html").exists()


def interrupting(step: int) -> Any:
    whole = Stream.batches

    def batches(self: Stream, start: int, stop: int) -> Iterator[Batch]:
        for batch in whole(self, start, stop):
            if batch.step == step:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    return batches


def test_resume_is_exact_and_workers_and_cache_change_nothing(home: Path, videos: Path) -> None:
    whole = train(videos, home / "whole", "--steps", "7")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "batches", interrupting(4))
        arguments = (videos, home / "killed", "--steps", "7")
        process = multiprocessing.get_context("fork").Process(target=train, args=arguments)
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert cli.main(["resume", str(home / "killed")]) == 0
    resumed = load_file(home / "killed" / "models" / "model" / "model.safetensors")
    others = [train(videos, home / "two", "--steps", "7", "--workers", "2")]
    for found in (resumed, *others):
        assert found.keys() == whole.keys()
        assert all(torch.equal(found[name], whole[name]) for name in whole)
    train(videos, home / "cached", "--steps", "2", "--cache")


def test_the_two_kinds_are_not_mixed_up(home: Path, run: Path, videos: Path) -> None:
    for n in range(4):
        (home / "stills" / str(n % 2)).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (60 * n, 0, 0)).save(home / "stills" / str(n % 2) / f"{n}.png")

    def fails(words: str, images: Path, model: str, **more: Any) -> None:
        training, method = more.pop("training", {}), more.pop("method", None)
        data = more.pop("data", {})
        with pytest.raises(UserError, match=words):
            start(
                Config(
                    *(method or ("softmax", SoftmaxOptions())),
                    options.Data(images=str(images), workers=0, **data),
                    options.Model(model=model, image_size=16, device="cpu", **more),
                    training=options.Training(steps=1, **training),
                    output=options.Output(out=home / "bad"),
                )
            )
        assert not (home / "bad").exists()

    fails("--images are videos and resnet18 takes still images", videos, "resnet18")
    fails("reteach_video takes videos and --images are still", home / "stills", "reteach_video")
    fails("--frames is for videos", home / "stills", "reteach_tiny", frames=4)
    fails("--frames must be at least 1", videos, "reteach_video", frames=0)
    fails(
        "--randaugment and --cutout are for still images",
        videos,
        "reteach_video",
        training={"cutout": 0.5},
    )
    fails(
        "--unlabeled are still images",
        videos,
        "reteach_video",
        method=("mile", MileOptions()),
        data={"unlabeled": str(home / "stills")},
    )
    command = PredictOptions(run, str(home / "stills"), home / "none.parquet", workers=0)
    with pytest.raises(UserError, match="the model takes videos, and these are still images"):
        cli.run(command)


def test_videos_inside_tars_are_scored_as_files_are(
    run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each item's classes and scores are those of the same file in a folder; a shard of stills is named."""
    files = sorted(videos.glob("*/[01].mkv"))
    for number in range(2):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for file in files[number::2]:
                tar.add(file, file.parent.name + "-" + file.name)
    Image.new("RGB", (24, 24)).save(tmp_path / "still.png")
    with tarfile.open(tmp_path / "2.tar", "w") as tar:
        tar.add(tmp_path / "still.png", "still.png")
    (tmp_path / "few").mkdir()
    for file in files:
        shutil.copy(file, tmp_path / "few" / f"{file.parent.name}-{file.name}")
    capsys.readouterr()
    found = []
    for images, out in ((f"{tmp_path}/{{0..2}}.tar", "tars"), (str(tmp_path / "few"), "files")):
        words = ["score", str(run), "--images", images, "--out", str(tmp_path / out)]
        assert cli.main([*words, "--workers", "0", "--device", "cpu"]) == 0
        rows = [
            r
            for f in sorted((tmp_path / out).glob("*.parquet"))
            for r in pq.read_table(f).to_pylist()
        ]
        found.append({Path(row.pop("item")).stem: row for row in rows})
    assert found[0] == found[1]
    assert len(found[0]) == len(files) == 4
    assert "no videos in the 1 shards" in capsys.readouterr().err
