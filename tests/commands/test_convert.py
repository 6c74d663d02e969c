"""``reteach convert`` on lists of one label per image, and the images that go with them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reteach.cli import main
from reteach.data.sources.base import open_source
from reteach.data.sources.cifar import CIFAR10, CIFAR100
from reteach.tables import read_labels


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    """CIFAR-10's Python form in small: 5 × 8 images for training, 12 to test on."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        n = 12 if name == "test_batch" else 8
        index = np.arange(n) % 3
        noise = np.random.default_rng(number).integers(0, 60, (n, 3072), np.uint8)
        data = noise + (index * 90).astype(np.uint8)[:, None]
        (folder / name).write_bytes(pickle.dumps({b"data": data, b"labels": index.tolist()}))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": list(CIFAR10)}))
    return folder


def test_the_class_lists_are_whole_and_sorted() -> None:
    assert [len(set(names)) for names in (CIFAR10, CIFAR100)] == [10, 100]
    assert all(list(names) == sorted(names) for names in (CIFAR10, CIFAR100))


def test_train_nct_on_cifar_with_human_labels(ten: Path, tmp_path: Path) -> None:
    worse = (np.arange(40) % 8 % 3).astype(np.int64)
    worse[::4] = 9
    torch.save({"worse_label": worse, "clean_label": worse}, tmp_path / "CIFAR-10_human.pt")
    noisy, clean = tmp_path / "worse.csv", tmp_path / "clean.parquet"
    assert (
        main(["convert", "cifar10n", f"{tmp_path / 'CIFAR-10_human.pt'}", "--out", f"{noisy}"]) == 0
    )
    assert main(["convert", "cifar", f"{ten}", "--out", f"{clean}"]) == 0
    table = read_labels(noisy)
    assert table.items == tuple(map(str, range(40)))
    assert table.labels.names()[:2] == [["truck"], ["automobile"]]
    assert read_labels(clean).labels.classes == CIFAR10
    out = tmp_path / "run"
    words = ["train", "nct", "--images", f"cifar:{ten}", "--labels", f"{noisy}", "--steps", "4"]
    words += ["--model", "reteach_tiny", "--batch-size", "8", "--device", "cpu", "--out", f"{out}"]
    assert main(words) == 0
    assert json.loads((out / "run.json").read_text())["n_train"] == 36  # a tenth is for validation


def test_cifar_is_opened_by_part(ten: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = open_source(f"cifar:{ten}:test")
    assert len(source) == 12
    assert source.class_of is not None
    assert list(source.class_of[:4]) == ["airplane", "automobile", "bird", "airplane"]
    assert len(open_source(f"cifar:{ten}:train")) == len(open_source(f"cifar:{ten}")) == 40
    assert main(["train", "softmax", "--images", str(ten), "--device", "cpu"]) == 2
    assert f"write cifar:{ten}" in capsys.readouterr().err


def test_the_published_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clothing = write(
        tmp_path / "clothing1m",
        {
            "category_names_eng.txt": "T-Shirt\nShirt\n",
            "noisy_label_kv.txt": "images/0/1.jpg 1\nimages/0/2.jpg 0\n",
            "noisy_train_key_list.txt": "images/0/2.jpg\nimages/0/1.jpg\n",
        },
    )
    webvision = write(
        tmp_path / "webvision",
        {
            "info/synsets.txt": "n01 tench\nn02 goldfish\nn03 shark\n",
            "info/train_filelist_google.txt": "google/a.jpg 0\ngoogle/b.jpg 2\ngoogle/c.jpg 1\n",
            "info/train_filelist_flickr.txt": "flickr/d.jpg 2\nflickr/e.jpg 1\n",
            "info/val_filelist.txt": "v.jpg 2\n",
        },
    )
    tiny = write(tmp_path / "tiny", {"wnids.txt": "n02\nn01\n"})
    for name in ("n01", "n02"):
        (tiny / "train" / name / "images").mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tiny / "train" / name / "images" / f"{name}_0.JPEG")
    out = tmp_path / "t.parquet"
    assert main(["convert", "clothing1m", str(clothing), "--out", str(out)]) == 0
    assert read_labels(out).labels.names() == [["T-Shirt"], ["Shirt"]]
    assert main(["convert", "webvision", str(webvision), "--first", "2", "--out", str(out)]) == 0
    assert read_labels(out).items == ("google/a.jpg", "google/c.jpg", "flickr/e.jpg")
    assert main(["convert", "webvision", str(webvision), "--split", "val", "--out", str(out)]) == 0
    assert read_labels(out).labels.names() == [["n03"]]
    assert main(["convert", "tiny-imagenet", str(tiny), "--out", str(out)]) == 0
    table = read_labels(out)
    assert open_source(tiny, table.items).read(0).shape == (64, 64, 3)
    capsys.readouterr()
    for words, reason in (
        (
            ["webvision", str(webvision), "--split", "vall"],
            "--split must be one of train, google, f",
        ),
        (["clothing1m", str(clothing), "--first", "2"], "--first has no effect on clothing1m"),
        (["cifar10n", str(tmp_path / "no.pt")], "no.pt does not exist"),
        (["cifar", str(tiny)], "holds no CIFAR train data"),
        (["webvision", str(webvision), "--drop-empty"], "--drop-empty has no effect on webvision"),
    ):
        assert main(["convert", *words, "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert error.count("\n") == 1
