"""Whatever a command cannot read is counted in its result and listed in full, by one mechanism."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from reteach.cli import main
from reteach.data.sources.base import open_source
from reteach.tables import LabelTable, read_labels, write_labels
from reteach.unreadable import Unreadable, beside, unreadable
from tests.commands.test_train import photo

TRAIN = "--images {odd} --model reteach_tiny --image-size 16 --workers 0 --device cpu"
RUN = "{run} --device cpu --images {odd} --workers 0"
SMALL = "--epochs 1 --batch-size 4"
COMMANDS = {  # command -> its list, in the folder of the outputs
    "train": (f"train softmax {TRAIN} --steps 2 --out {{out}}/run", "run/quarantine.csv"),
    "evaluate": (f"evaluate {RUN} --out {{out}}/found.json", "found.quarantine.csv"),
    "predict": (f"predict {RUN} --out {{out}}/labels.csv", "labels.quarantine.csv"),
    "score": (f"score {RUN} --out {{out}}/scores", "scores.quarantine.csv"),
    "embed": (f"embed {RUN} --out {{out}}/x.features", "x.features.quarantine.csv"),
    "calibrate": (
        f"calibrate {RUN} --anyway --report {{out}}/page.html",
        "page.quarantine.csv",
    ),
    "explain": (f"explain {RUN} --classes a --out {{out}}/cam.html", "cam.quarantine.csv"),
    "transfer fc-only": (
        f"transfer {RUN} --mode fc-only --folds 2 --out {{out}}/new",
        "new/quarantine.csv",
    ),
    "transfer full-ft": (f"transfer {RUN} {SMALL} --out {{out}}/new", "new/quarantine.csv"),
    "relabel clean": (
        f"relabel clean {TRAIN} --folds 2 --steps 2 --out {{out}}/kept.csv",
        "kept/quarantine.csv",
    ),
    "dedup": (
        "dedup --images {odd} --workers 0 --out {out}/pairs.parquet",
        "pairs.quarantine.csv",
    ),
    "noise": (
        "noise --labels {table} --images {odd} --out {out}/noisy.csv",
        "noisy.quarantine.csv",
    ),
    "advise": (
        "advise --images {odd} --workers 0 --folds 2 --steps 2 --model reteach_tiny "
        "--out {out}/advice.html",
        "advice/quarantine.csv",
    ),
    "advise --val-images": (
        "advise --images {good} --val-images {odd} --workers 0 --folds 2 --steps 2 "
        "--model reteach_tiny --out {out}/advice.html",
        "advice/quarantine.csv",
    ),
    "probe compression": (
        "probe compression {run} --device cpu --images {odd} --epochs 1 --seeds 1 "
        "--out {out}/numbers.json",
        "numbers.quarantine.csv",
    ),
    "compare": (
        f"compare softmax {TRAIN} --seeds 1 --steps 2 --processes 1 --out {{out}}/compared",
        "compared/quarantine.csv",
    ),
}
STRANGE = {"a/IMG_1.HEIC": "HEIC is not read", "b/noending": "no ending", "b/cut.jpg": ""}
"""Of each file that cannot be read, what its reason says."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("unreadable")
    for where in ("good", "odd"):
        for i in range(24):
            photo(root / where / "ab"[i % 2] / f"{i:02}.png", 120 * (i % 2), i)
    for name in STRANGE:
        (root / "odd" / name).write_bytes(b"not for us")
    photo(root / "whole.jpg", 50, 0)
    whole = (root / "whole.jpg").read_bytes()
    (root / "odd" / "b" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    for name in (".DS_Store", "Thumbs.db", "labels.csv", "README.md"):  # no image, and none missing
        (root / "odd" / name).write_bytes(b"beside")
    words = f"train softmax {TRAIN} --steps 2 --out {root}/run".format(odd=f"{root}/good")
    assert main(words.split()) == 0
    named = sorted(f"{c}/{i:02}.png" for i in range(24) for c in "ab"[i % 2])
    (root / "table.csv").write_text(
        "item,labels\n" + "".join(f"{item},{item[0]}\n" for item in [*named, *STRANGE])
    )
    found = {name: f"{root}/{name}" for name in ("good", "odd", "run")}
    return found | {"table": f"{root}/table.csv"}


def _listed(file: Path) -> dict[str, str]:
    with file.open(newline="") as rows:
        return {row["item"]: row["reason"] for row in csv.DictReader(rows)}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_cannot_be_read_is_counted_and_listed(
    world: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    words, place = COMMANDS[name]
    code = main([*words.format(out=tmp_path, **world).split(), "--json"])
    said = capfd.readouterr()
    assert code == 0, said.err
    listed = _listed(tmp_path / place)
    assert listed.keys() == STRANGE.keys()
    if name != "noise":  # which opens what its table names, whatever the ending
        assert all(STRANGE[item] in reason for item, reason in listed.items())
    result: dict[str, Any] = json.loads(said.out)
    assert result["unreadable"] == {"count": 3, "file": str(tmp_path / place)}
    assert "3" in said.err
    assert place in said.err


@pytest.mark.parametrize("name", ["score", "embed"])
def test_folders_of_tables_are_read_whole_by_pandas_and_duckdb(
    world: dict[str, str], tmp_path: Path, name: str
) -> None:
    pandas, duckdb = pytest.importorskip("pandas"), pytest.importorskip("duckdb")
    words, place = COMMANDS[name]
    assert main(words.format(out=tmp_path, **world).split()) == 0
    folder = tmp_path / place.removesuffix(".quarantine.csv")
    items = set(pandas.read_parquet(folder)["item"])
    assert len(items) == 24
    files = f"{folder}/*.parquet"
    assert len(duckdb.sql(f"select distinct item from read_parquet('{files}')")) == 24
    if name == "score":  # polars refuses a folder with a file of any other ending in it
        polars = pytest.importorskip("polars")
        assert set(polars.read_parquet(folder)["item"]) == items


@pytest.mark.parametrize("name", ["score", "embed"])
def test_folders_of_earlier_versions_go_on_and_lose_what_readers_trip_over(
    world: dict[str, str], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, place = COMMANDS[name]
    again = words.format(out=tmp_path, **world).split()
    assert main(again) == 0
    folder = tmp_path / place.removesuffix(".quarantine.csv")
    before = {file.name: file.read_bytes() for file in folder.glob("*.parquet")}
    (tmp_path / place).rename(folder / "unreadable.csv")
    if name == "embed":
        (folder / "_features.json").rename(folder / "features.json")
        assert len(open_source(folder)) == 24
    assert main(again) == 0
    assert {file.name: file.read_bytes() for file in folder.glob("*.parquet")} == before
    assert {file.name for file in folder.iterdir()} - before.keys() == (
        {"_features.json"} if name == "embed" else set()
    )
    assert len(_listed(tmp_path / place)) == 3


@pytest.mark.parametrize("name", ["score", "embed"])
def test_strangers_in_tar_shards_are_listed(
    world: dict[str, str], tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for file in ["a/00.png", "b/01.png", "a/IMG_1.HEIC", "b/cut.jpg"]:
            tar.add(Path(world["odd"]) / file, Path(file).name)
    words, place = COMMANDS[name]
    words = words.format(out=tmp_path, **world | {"odd": f"{tmp_path}/s.tar"})
    for _ in range(2):  # made, and found made
        assert main([*words.split(), "--json"]) == 0
        assert json.loads(capfd.readouterr().out)["unreadable"]["count"] == 2
        assert _listed(tmp_path / place).keys() == {"s/IMG_1.HEIC", "s/cut"}


def test_a_list_of_an_earlier_time_does_not_outlive_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.parquet"
    assert unreadable(out) == Unreadable()
    assert not beside(out).exists(), "nothing to list, no list"
    lost = unreadable(out, {"a.jpg": "cut"}, [("a.jpg", "cut"), ("b.jpg", "no image")])
    assert (lost.count, lost.file) == (2, tmp_path / "labels.quarantine.csv")
    assert Unreadable.read(beside(out)) == lost
    assert "2 could not be read, first: 'a.jpg' (cut)" in capsys.readouterr().err
    unreadable(out)
    assert _listed(beside(out)) == {}
    assert capsys.readouterr().err == ""


def test_noise_by_images_leaves_the_labels_of_those_it_cannot_see(
    world: dict[str, str], tmp_path: Path
) -> None:
    before = read_labels(Path(world["table"]))
    write_labels(tmp_path / "t.csv", LabelTable(before.items, before.labels, ""))
    words = "noise --labels {table} --images {odd} --rate 1 --out {out}/noisy.csv"
    assert main(words.format(out=tmp_path, **world).split()) == 0
    after = read_labels(tmp_path / "noisy.csv")
    for item, old, new in zip(
        after.items, before.labels.names(), after.labels.names(), strict=True
    ):
        assert (old == new) == (item in STRANGE)
