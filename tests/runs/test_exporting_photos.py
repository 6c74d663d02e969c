"""``reteach export`` on 500 real photos that nobody trained on, used by programs that cannot import reteach.

RETEACH_EXPORT_LONG=1 runs it: ten minutes of processor time, most of it 6,500 predictions at 224 pixels. It
prints the largest differences; docs/commands.md has them.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import reteach as rt
from reteach.cli import main

pytestmark = pytest.mark.skipif(
    "RETEACH_EXPORT_LONG" not in os.environ, reason="minutes of training: RETEACH_EXPORT_LONG=1"
)
CHECKED = 500
SEEN_BY = {
    "onnx": ("reteach", "torch", "timm"),
    "torch-export": ("reteach", "timm"),
    "timm": ("reteach",),
    "safetensors": ("reteach",),
}
"""What a user of each does without."""
WITHIN = {"onnx": 1e-4, "torch-export": 1e-4, "timm": 1e-3, "safetensors": 1e-3}

BY_SCRIPT = """
predict = runpy.run_path(f"{folder}/predict.py")["predict"]
found = np.concatenate([predict(photos[i : i + 50]) for i in range(0, len(photos), 50)])
"""
BY_ONNXRUNTIME = """
import onnxruntime
script = runpy.run_path(f"{folder}/predict.py")
session = onnxruntime.InferenceSession(f"{folder}/model.onnx", providers=["CPUExecutionProvider"])
pixels = lambda some: {"pixels": np.stack([script["pixels"](photo) for photo in some])}
ask = lambda some: session.run(["probabilities"], pixels(some))[0]
found = np.concatenate([ask(photos[i : i + 50]) for i in range(0, len(photos), 50)])
"""
BY_TIMM = """
import timm, torch
from PIL import Image
model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model), is_training=False)
look = lambda some: torch.stack([transform(Image.open(p).convert("RGB")) for p in some])
with torch.no_grad():
    logits = torch.cat([model(look(photos[i : i + 50])) for i in range(0, len(photos), 50)]).numpy()
found = runpy.run_path(f"{folder}/predict.py")["probabilities"](logits)
"""
CODE = {
    "onnx": BY_ONNXRUNTIME,
    "torch-export": BY_SCRIPT,
    "timm": BY_TIMM,
    "safetensors": BY_SCRIPT,
}


def command(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def unpack(pack: Any, rows: Iterable[int], folder: Path) -> list[Path]:
    """Photos of a data pack as files, byte for byte."""
    folder.mkdir()
    data, starts = pack["jpeg"], pack["offsets"]
    files = []
    for row in rows:
        files.append(folder / f"{row:05}.jpg")
        files[-1].write_bytes(data[starts[row] : starts[row + 1]].tobytes())
    return files


def write(table: Path, files: list[Path], labels: list[str]) -> Path:
    with table.open("w", newline="") as out:
        pairs = zip((file.name for file in files), labels, strict=True)
        csv.writer(out).writerows([("item", "labels"), *pairs])
    return table


@pytest.fixture(scope="session")
def animals(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear layer on frozen features: 50 classes of Tiny ImageNet, 20 photos each, 500 others."""
    work = tmp_path_factory.mktemp("animals")
    with np.load(shared_data / "tiny_imagenet50.npz", allow_pickle=False) as pack:
        pack = dict(pack)
    split, label = pack["split"], pack["label"]
    train = [r for c in range(50) for r in np.flatnonzero((split == 0) & (label == c))[:20]]
    test = [r for c in range(50) for r in np.flatnonzero((split == 1) & (label == c))[:10]]
    files = unpack(pack, train, work / "photos")
    unpack(pack, test, work / "others")
    names = [str(pack["wnid"][label[row]]) for row in train]
    table = write(work / "labels.csv", files, names)
    command("train", "softmax", "--images", work / "photos", "--labels", table, "--pretrained", "--freeze",
            "--features-cache", work / "cache", "--device", "cpu", "--out", work / "run")  # fmt: skip
    return work


@pytest.fixture(scope="session")
def clothes(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network fine-tuned on label sets: street photos of many shapes, 500 others."""
    work = tmp_path_factory.mktemp("clothes")
    with np.load(shared_data / "ccp_multilabel.npz", allow_pickle=False) as pack:
        pack = dict(pack)
    rows = np.random.default_rng(0).permutation(len(pack["labels"]))
    names = [str(name) for name in pack["label_names"]]
    shown = pack["labels"].astype(bool)
    shown[:, names.index("null")] = False  # the background, which is in every photo with a mask
    train = rows[CHECKED : CHECKED + 400].tolist()
    files = unpack(pack, train, work / "photos")
    unpack(pack, rows[:CHECKED].tolist(), work / "others")
    sets = ["|".join(names[c] for c in np.flatnonzero(shown[row])) for row in train]
    table = write(work / "labels.csv", files, sets)
    command("train", "sigmoid", "--images", work / "photos", "--labels", table, "--kind", "multi",
            "--pretrained", "--image-size", 96, "--epochs", 2, "--batch-size", 32, "--device", "cpu",
            "--out", work / "run")  # fmt: skip
    return work


@pytest.fixture(scope="session")
def calibrated(clothes: Path) -> Path:
    """The same, calibrated on its validation photos, in a work folder of its own.

    Forty photos are too few to calibrate by, which it says; here the export has to hold the map as it is.
    """
    work = clothes.parent / "calibrated"
    shutil.copytree(clothes, work, ignore=shutil.ignore_patterns("exported"))
    command("calibrate", work / "run", "--anyway", "--device", "cpu")
    return work


def of_the_run(work: Path, files: list[Path]) -> NDArray[Any]:
    """(500, C) probabilities by ``reteach predict``."""
    count = len(rt.load(work / "run").classes)
    command("predict", work / "run", "--images", work / "others", "--out", work / "p.csv",
            "--scores", work / "s.parquet", "--top", count, "--device", "cpu")  # fmt: skip
    table = pq.read_table(work / "s.parquet").to_pydict()
    row = {file.name: i for i, file in enumerate(files)}
    found = np.full((len(files), count), np.nan)
    for item, column, score in zip(table["item"], table["class"], table["score"], strict=True):
        found[row[item], column] = score
    return found


def elsewhere(target: str, folder: Path, files: list[Path], out: Path) -> NDArray[Any]:
    """The same by a fresh process, in which what a user of the target lacks cannot be imported."""
    start = (
        "import runpy, sys\nimport numpy as np\n"
        f"for name in {SEEN_BY[target]!r}: sys.modules[name] = None\n"
        f"folder, photos = {str(folder)!r}, {list(map(str, files))!r}\n"
    )
    code = f"{start}{CODE[target]}\nnp.save({str(out)!r}, found)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return np.load(out, allow_pickle=False)


@pytest.mark.parametrize("name", ["animals", "clothes", "calibrated"])
def test_exports_answer_as_the_run_on_500_photos(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    work: Path = request.getfixturevalue(name)
    files = sorted((work / "others").iterdir())
    assert len(files) == CHECKED
    wanted = of_the_run(work, files)
    # (the first choice of clothes is skin on every photo: there the probabilities tell)
    assert np.ptp(wanted, axis=0).max() > 0.2, "a constant answer would agree with anything"
    if name == "calibrated":
        before = of_the_run(request.getfixturevalue("clothes"), files)
        assert np.abs(wanted - before).max() > 0.01, "the map does nothing"
    for target in CODE:
        folder = work / "run" / "exported" / target
        command(
            "export", work / "run", "--to", target, "--images", work / "others", "--check", CHECKED
        )
        if target == "timm":
            assert (folder / "calibration.json").exists() == (name == "calibrated")
        found = elsewhere(target, folder, files, work / "found.npy")
        same = int((found.argmax(1) == wanted.argmax(1)).sum())
        apart = float(np.abs(found - wanted).max())
        with capsys.disabled():
            print(f"\n{name} {target}: {same} of {CHECKED} first choices, {apart:.1e} apart")
        assert same == CHECKED
        assert apart <= WITHIN[target]
