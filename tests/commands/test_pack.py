"""``reteach pack``: shards that hold the same images, from any source, also after a kill."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import pictures
from reteach.cli import main
from reteach.data import packing
from reteach.data.sources.base import open_source
from reteach.tables import read_labels
from tests.commands.test_train_semi import command, world

__all__ = ["world"]
NAMES = [f"{'ab'[i % 2]}/{i:02}.jpg" for i in range(10)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return pictures.folder(tmp_path / "photos", NAMES, "JPEG")


def shards(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.tar")
    }


def packed(out: Path) -> dict[str, bytes]:
    """Original name -> pixels, as the shards give them."""
    source = open_source(f"{out}/*.tar")
    table = pq.read_table(out / "items.parquet").to_pylist()
    original = {row["item"]: row["original"] for row in table}
    assert sorted(original) == sorted(source.items)
    return {original[item]: source.read(row).tobytes() for row, item in enumerate(source.items)}


def test_the_shards_hold_the_same_pixels(photos, tmp_path, capsys):
    out = tmp_path / "packed"
    assert main(["pack", "--images", str(photos), "--out", str(out), "--per-shard", "4"]) == 0
    assert f"10 of 10 images in 3 shards: --images '{out}/*.tar'" in capsys.readouterr().out
    source = open_source(photos)
    assert packed(out) == {
        item: source.read(row).tobytes() for row, item in enumerate(source.items)
    }
    first = (photos / NAMES[0]).read_bytes()
    assert first in (out / "000000.tar").read_bytes(), "files are copied as they are"


def test_shuffled_shards_hold_the_same_pixels_in_another_order(photos, tmp_path, capsys):
    words = ["pack", "--images", str(photos), "--per-shard", "4", "--out"]
    assert main([*words, str(tmp_path / "plain")]) == 0
    for name in ("a", "b"):
        assert main([*words, str(tmp_path / name), "--shuffle"]) == 0
    assert shards(tmp_path / "a") == shards(tmp_path / "b") != shards(tmp_path / "plain")
    assert packed(tmp_path / "a") == packed(tmp_path / "plain")
    table = pq.read_table(tmp_path / "a" / "items.parquet").to_pylist()
    classes = [row["original"][0] for row in sorted(table, key=lambda row: row["item"])]
    assert classes != sorted(classes)
    (tmp_path / "a" / "000001.tar").unlink()
    assert main([*words, str(tmp_path / "a"), "--shuffle"]) == 0
    assert shards(tmp_path / "a") == shards(tmp_path / "b")
    capsys.readouterr()
    assert main([*words, str(tmp_path / "a")]) == 2
    assert "another order" in capsys.readouterr().err


@pytest.mark.parametrize("grey", [False, True])
def test_arrays_become_png(tmp_path, grey):
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 9, 1 if grey else 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=images)
    out = tmp_path / "packed"
    assert main(["pack", "--images", str(tmp_path / "x.npz"), "--out", str(out)]) == 0
    source = open_source(f"{out}/*.tar")
    for row in range(5):
        np.testing.assert_array_equal(source.read(row), np.broadcast_to(images[row], (8, 9, 3)))


def test_a_shard_packs_again_as_it_is(photos, tmp_path):
    for where, out in ((str(photos), "one"), (f"{tmp_path}/one/*.tar", "two")):
        words = ["pack", "--images", where, "--out", str(tmp_path / out), "--per-shard", "4"]
        assert main(words) == 0
    source, again = (open_source(f"{tmp_path}/{name}/*.tar") for name in ("one", "two"))
    for row in range(10):
        np.testing.assert_array_equal(source.read(row), again.read(row))


def test_a_killed_pack_goes_on_and_gives_the_same_bytes(photos, tmp_path, monkeypatch, capsys):
    words = ["pack", "--images", str(photos), "--per-shard", "4", "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    add, count = packing._add, 0

    def dying(*arguments):
        nonlocal count
        count += 1
        if count == 13:  # within the second shard
            raise KeyboardInterrupt
        add(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_add", dying)
        assert main([*words, str(tmp_path / "killed")]) == 130
    assert list(shards(tmp_path / "killed")) == ["000000.tar"]
    assert main([*words, str(tmp_path / "killed")]) == 0
    assert shards(tmp_path / "killed") == shards(tmp_path / "whole")
    capsys.readouterr()
    words[words.index("4")] = "5"
    assert main([*words, str(tmp_path / "killed")]) == 2
    assert "another order or another --per-shard" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert main([*words, str(tmp_path / "mine")]) == 2
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_label_table_goes_along_and_what_cannot_be_read_is_listed(photos, tmp_path, capsys):
    (photos / NAMES[2]).unlink()
    (photos / NAMES[2]).symlink_to("nowhere")
    table = tmp_path / "labels.csv"
    table.write_text("item,labels\n" + "".join(f"{NAMES[i]},{'xy'[i % 2]}\n" for i in range(6)))
    out = tmp_path / "packed"
    words = ["pack", "--images", str(photos), "--items", str(table), "--out", str(out)]
    assert main(words) == 0
    assert "5 of 10 images" in capsys.readouterr().out
    assert "a/02.jpg,cannot be read" in (tmp_path / "packed.quarantine.csv").read_text()
    found = read_labels(out / "labels.parquet")
    assert list(found.labels.classes) == ["x", "y"]
    assert len(found.items) == 5
    assert set(found.items) == set(open_source(f"{out}/*.tar").items)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("item,labels\nelsewhere.jpg,x\n", "1 of its 1 items are not among the images"),
        ("item,labels\n", "names no items"),
    ],
)
def test_a_table_of_other_images_is_refused(photos, tmp_path, capsys, table, words):
    (tmp_path / "t.csv").write_text(table)
    command = ["pack", "--images", str(photos), "--items", str(tmp_path / "t.csv")]
    assert main([*command, "--out", str(tmp_path / "packed")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "packed").exists()


def test_a_student_learns_the_same_from_packed_picks(world, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(command(world, tmp_path / "first")) == 0
    picks = tmp_path / "first" / "picks.parquet"
    out = tmp_path / "packed"
    words = ["pack", "--images", f"{world}/web", "--items", str(picks), "--out", str(out)]
    assert main(words) == 0
    content, renamed = pq.read_table(picks), pq.read_table(out / "picks.parquet")
    assert renamed.drop_columns("item").equals(content.drop_columns("item"))
    assert renamed.schema.metadata == content.schema.metadata

    def student(folder: Path, pile: str, table: Path) -> dict[str, torch.Tensor]:
        words = command(world, folder, "--picks", str(table), "--finetune-lr", "0.1")
        for flag in ("--teacher", "--per-class", "--top"):
            del words[words.index(flag) : words.index(flag) + 2]
        words[words.index("--unlabeled") + 1] = pile
        assert main(words) == 0
        return load_file(folder / "models" / "student" / "model.safetensors")

    before = student(tmp_path / "pile", f"{world}/web", picks)
    after = student(tmp_path / "shards", f"{out}/*.tar", out / "picks.parquet")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_only_picked_images_are_opened(world, tmp_path, monkeypatch, capsys):
    """Of a pile with broken images, those outside the picks are not even looked at."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pile = tmp_path / "pile"
    shutil.copytree(world / "web", pile)
    picked = [f"{i:02}.jpg" for i in range(6)]
    (pile / "44.jpg").write_bytes(b"no image either")
    table = pa.table(
        {
            "item": picked,
            "class": pa.array([0, 0, 1, 1, 2, 2], pa.int32()),
            "score": pa.array(np.linspace(0.9, 0.5, 6), pa.float32()),
            "rank": pa.array([1, 2] * 3, pa.int32()),
        }
    ).replace_schema_metadata({"reteach.classes": json.dumps(["dark", "grey", "light"])})
    pq.write_table(table, tmp_path / "picks.parquet")
    (tmp_path / "never.txt").write_text("40.jpg\n")
    words = command(world, tmp_path / "run", "--picks", str(tmp_path / "picks.parquet"))
    for flag in ("--teacher", "--per-class", "--top"):
        del words[words.index(flag) : words.index(flag) + 2]
    words[words.index("--unlabeled") + 1] = str(pile)
    words += ["--exclude", str(tmp_path / "never.txt")]
    assert main(words) == 0
    assert "6 of 46 unlabelled images are picked; no other is opened" in capsys.readouterr().err
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["n_unlabeled"], facts["n_quarantined"]) == (6, 0)
    assert main(["resume", str(tmp_path / "run")]) == 0
    pq.write_table(table.set_column(0, "item", pa.array(["x"] * 6)), tmp_path / "picks.parquet")
    words[words.index("--out") + 1] = str(tmp_path / "other")
    assert main(words) == 2
    assert "none of its 6 picks is among the images, first: 'x'" in capsys.readouterr().err
