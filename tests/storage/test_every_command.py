"""Every command that takes paths makes at a store what it makes on a disk, or says in one line why not."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from loopback_s3 import Store
from reteach.cli import TABLE, main
from tests.faults.commands import COMMANDS, ELSEWHERE, SMALL, TRAIN, make_out, make_world, said

LONG = bool(os.environ.get("RETEACH_STORES_LONG"))
SHORT = {"embed of photos", "pack", "dedup against others", "convert to yolo", "export"}
"""What every change must pass; RETEACH_STORES_LONG=1 is for the rest."""
NEED_A_DISK = {
    "relabel tasks": "O/r.db: a rating store is a database; name a place on this machine",
    "relabel export": "W/ratings.db: a rating store is a database; name a place on this machine",
    "rate": "O/ratings.db: a rating store is a database; name a place on this machine",
    "review": "W/photos: a review shows images of a disk; name a place on this machine",
    "review, export": "O/made.review: a review is made of what is on a disk; name a place on this machine",
}
"""Commands that are refused, and what is said."""
MORE: dict[str, tuple[str, tuple[str, ...]]] = {
    "embed of photos": (
        f"embed W/seen --images W/photos --block 6 --batch-size 8 --backend eager {SMALL} --out O/f",
        ("f/*.parquet", "f/*.json"),
    ),
    "train on a feature table": (
        "train softmax --images W/features --labels W/single.csv --steps 4 --workers 0 --device cpu "
        "--batch-size 8 --out O/head",
        ("head/models/model/model.safetensors",),
    ),
    "train from weights": (
        f"train softmax {TRAIN} --init W/seen/models/model/model.safetensors --out O/again",
        ("again/models/model/model.safetensors",),
    ),
    "dedup against others": (
        "dedup --images W/photos --against W/photos --workers 0 --out O/pairs.parquet",
        ("pairs.parquet",),
    ),
    "dedup of features": (
        "dedup --images W/features --out O/pairs.parquet",
        ("pairs.parquet",),
    ),
    "convert to yolo": (
        "convert labels W/single.csv --to yolo --images W/photos --out O/yolo",
        ("yolo/*",),
    ),
    "convert to coco": (
        "convert labels W/sets.csv --to coco --out O/coco.json",
        ("coco.json",),
    ),
    "convert to hf-parquet": (
        "convert labels W/single.csv --to hf-parquet --images W/photos --out O/hf.parquet",
        ("hf.parquet",),
    ),
    "score of photos": (
        f"score W/seen --images W/photos --top 2 --block 6 {SMALL} --out O/scores",
        ("scores/*.parquet",),
    ),
    "transfer, fine-tuned": (
        f"transfer W/seen --images W/photos --labels W/single.csv --steps 4 --batch-size 8 {SMALL} "
        "--out O/new",
        ("new/models/model/model.safetensors",),
    ),
    "predict of photos": (
        f"predict W/seen --images W/photos {SMALL} --out O/labels.csv",
        ("labels.csv",),
    ),
}
"""Beside the commands of ``tests/faults``, of which most read arrays: such as read images one by one."""
WITHOUT_PATHS = {"demo"}
ALL = {**{n: c for n, c in COMMANDS.items() if n not in WITHOUT_PATHS}, **MORE}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world on a disk."""
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        make_world(folder / "W")
    return folder


def test_every_command_is_here():
    known = {words.split(",")[0] for words in COMMANDS}
    trained = {name for name in TABLE if name.startswith("train ")}
    assert set(TABLE) - trained <= known | set(ELSEWHERE)
    assert {n for n, (words, _) in ALL.items() if words.startswith("review") or "W/r" in words}


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in SHORT or name in NEED_A_DISK
        else pytest.param(name, marks=pytest.mark.skipif(not LONG, reason="RETEACH_STORES_LONG=1"))
        for name in ALL
    ],
)
def test_the_same_at_a_store(store, here, tmp_path, monkeypatch, capsys, name):
    words, patterns = ALL[name]
    made = make_out(here / "W", tmp_path / "O")
    store.upload(here / "W", "bucket", "W")
    store.upload(made, "bucket", "O")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    before = store.names("bucket")
    there = said(words, Path("s3://bucket/W"), Path("s3://bucket/O"))
    there = [re.sub("^s3:/(?=[^/])", "s3://", word) for word in there]
    if name in NEED_A_DISK:
        assert main(there) == 2
        line = re.sub(r"s3://bucket/(?=[WO])", "", capsys.readouterr().err)
        assert line == f"reteach: {NEED_A_DISK[name]}\n"
        assert store.names("bucket") == before
        return
    assert main(there) == 0
    told = "".join(capsys.readouterr())
    assert str(tmp_path / "scratch") not in told
    assert main(said(words, here / "W", made)) == 0
    assert not list((tmp_path / "work").iterdir())
    _same(store, here, made, patterns)
    names = store.names("bucket")
    assert not [n for n in names if n.endswith((".part", ".lock", "_INCOMPLETE"))]
    assert {n for n in names if n.startswith("O/")} == {
        f"O/{file.relative_to(made).as_posix()}" for file in made.rglob("*") if file.is_file()
    } | {n for n in names if re.search(r"/metrics/\d+\.jsonl$", n)}
    for new in set(names) - set(before):
        assert str(tmp_path).encode() not in store.content("bucket", new), new


def _same(store: Store, here: Path, made: Path, patterns: tuple[str, ...]) -> None:
    """The files of the patterns are there and here, with the same bytes, but for where something is."""
    files = [
        file
        for pattern in patterns
        for file in made.rglob("*")
        if file.is_file() and fnmatchcase(file.relative_to(made).as_posix(), pattern)
    ]
    assert files or not patterns
    for file in files:
        name = file.relative_to(made).as_posix()
        found, wanted = store.content("bucket", f"O/{name}"), file.read_bytes()
        if file.suffix in (".json", ".html"):  # they say where something is
            for folder, there in ((here / "W", b"s3://bucket/W"), (made, b"s3://bucket/O")):
                found, wanted = (x.replace(bytes(folder), there) for x in (found, wanted))
        assert found == wanted, name
