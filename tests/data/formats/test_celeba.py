"""CelebA's attribute list becomes a label table of sets, and trains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import run
from reteach.cli import main
from reteach.data.formats.celeba import read_celeba
from reteach.errors import UserError
from reteach.options.convert import ConvertOptions
from reteach.tables import read_labels

NAMES = ["5_o_Clock_Shadow", "Bald", "Eyeglasses", "Male", "Young"]


def lists(root: Path, n: int = 12, newline: str = "\r\n") -> tuple[Path, Path, np.ndarray]:
    """The published form: a count, the names, rows with one or two blanks; images in three parts."""
    present = np.random.default_rng(0).random((n, len(NAMES))) < 0.4
    rows = [
        f"{i + 1:06}.jpg " + " ".join(" 1" if p else "-1" for p in row)
        for i, row in enumerate(present)
    ]
    attributes = root / "list_attr_celeba.txt"
    lines = [f"{n}", " ".join(NAMES) + " ", *rows]
    attributes.write_bytes("".join(line + newline for line in lines).encode())
    partition = root / "list_eval_partition.txt"
    parts = [0, 0, 0, 0, 1, 2]
    partition.write_text("".join(f"{i + 1:06}.jpg {parts[i % 6]}\n" for i in range(n)))
    return attributes, partition, present


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_celeba_attributes_of_each_part(tmp_path: Path, newline: str) -> None:
    attributes, partition, present = lists(tmp_path, newline=newline)
    assert "jpg  1" in attributes.read_text()
    everything = read_celeba(attributes, split="all")
    assert everything.labels.classes == tuple(NAMES)
    np.testing.assert_array_equal(everything.labels.present(), present)
    assert everything.labels.unknown is None
    sizes = {}
    for split, value in (("train", 0), ("val", 1), ("test", 2)):
        found = read_celeba(attributes, partition, split)
        rows = [i for i in range(12) if [0, 0, 0, 0, 1, 2][i % 6] == value]
        assert found.items == tuple(f"{i + 1:06}.jpg" for i in rows)
        np.testing.assert_array_equal(found.labels.present(), present[rows])
        sizes[split] = len(found.items)
    assert sizes == {"train": 8, "val": 2, "test": 2}


def test_celeba_converts_and_trains_on_made_up_pictures(tmp_path: Path) -> None:
    attributes, partition, _ = lists(tmp_path, 24)
    for i in range(24):
        pixels = np.random.default_rng(i).integers(0, 255, (32, 26, 3), np.uint8)
        file = tmp_path / "img_align_celeba" / f"{i + 1:06}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(file)
    tables = {part: tmp_path / f"{part}.parquet" for part in ("train", "val")}
    for part, table in tables.items():
        words = ["convert", "celeba", f"{attributes}", "--partition", f"{partition}"]
        assert main([*words, "--split", part, "--out", f"{table}"]) == 0
    assert read_labels(tables["train"]).labels.kind == "multi"
    both = tmp_path / "all.csv"
    run(ConvertOptions("celeba", attributes, both, split="all"))
    out = tmp_path / "run"
    words = ["train", "asl", "--images", f"{tmp_path / 'img_align_celeba'}", "--labels", f"{both}"]
    words += ["--val-labels", f"{tables['val']}", "--model", "reteach_tiny", "--steps", "2"]
    words += ["--batch-size", "8", "--workers", "0", "--device", "cpu", "--out", f"{out}"]
    assert main(words) == 0
    told = json.loads((out / "run.json").read_text())
    assert (told["n_train"], told["n_val"]) == (20, 4)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Bald Male\na.jpg 1 -1\n", "the first line must be the number of images"),
        ("", "the first line must be the number of images"),
        ("1\n", "line 2: the names of the attributes"),
        ("1\na.jpg 1 -1\n", "line 2: the names of the attributes"),
        ("1\nBald Bald\na.jpg 1 -1\n", "attribute 'Bald' is named twice"),
        ("1\nBald Male\na.jpg 1\n", "line 3: an image and 2 values of 1 or -1"),
        ("1\nBald Male\na.jpg 1 0\n", "line 3: an image and 2 values of 1 or -1"),
        ("1\nBald Male\na.jpg 1 -1 1\n", "line 3: an image and 2 values of 1 or -1"),
        ("3\nBald Male\na.jpg 1 -1\n", "announces 3 images and lists 1: cut off?"),
        ("2\nBald Male\na.jpg 1 -1\na.jpg 1 1\n", "'a.jpg' is listed twice"),
        ("1\nBald \x00Male\n\xff.jpg 1 -1\n", "not a UTF-8 text file"),
    ],
)
def test_wrong_celeba_lists_are_named_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=reason) as error:
        read_celeba(file, split="all")
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


def test_wrong_celeba_partitions_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attributes, partition, _ = lists(tmp_path)
    for text, reason in (
        ("000001.jpg 3\n", "line 1: an image and 0, 1 or 2"),
        ("000001.jpg\n", "line 1: an image and 0, 1 or 2"),
        ("000001.jpg 0\n000001.jpg 1\n", "'000001.jpg' is listed twice"),
        ("000001.jpg 0\n", "'000002.jpg' of list_attr_celeba.txt is not listed"),
        ("".join(f"{i + 1:06}.jpg 1\n" for i in range(12)), "no image .* in the part train"),
    ):
        partition.write_text(text)
        with pytest.raises(UserError, match=reason):
            read_celeba(attributes, partition)
    for words, reason in (
        (["celeba", f"{attributes}"], "--partition is missing"),
        (["celeba", f"{attributes}", "--split", "dev"], "--split must be train, val, test or all"),
        (
            ["celeba", f"{attributes}", "--split", "all", "--partition", f"{partition}"],
            "--partition has no effect with --split all",
        ),
        (["celeba", f"{attributes}", "--first", "2"], "--first has no effect on celeba to labels"),
        (
            ["voc", f"{tmp_path}", "--partition", f"{partition}"],
            "--partition has no effect on voc to labels",
        ),
        (["celeba", f"{tmp_path / 'none.txt'}"], "cannot read"),
    ):
        assert main(["convert", *words, "--out", f"{tmp_path / 'x.csv'}"]) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert error.count("\n") == 1
