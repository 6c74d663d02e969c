"""Odd names of files and classes through every command: what comes out is right, or one clear line; and ten
thousand classes.

    RETEACH_FAULTS=all pytest tests/faults/test_names.py
"""

from __future__ import annotations

import csv
import os
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reteach.cli import main
from reteach.data.item_ids import item_id
from reteach.labels import Single
from reteach.scores.table import ScoreWriter
from reteach.tables import LabelTable, read_labels, write_labels

from .commands import COMMANDS, SERVES, SLOW, make_out, make_world, said
from .test_commands import ALL, _in_a_process

SCRIPT = "<script>alert(1)</script>"
NAMES = [
    "a, b.png",
    'say "x".png',
    "<b>bold&amp;.png",
    "\u202egnp.evil\u202c.png",
    "שלום.png",
    "two\nlines.png",
    "=1+1.png",
    "'quoted'.png",
    os.fsdecode(b"caf\xe9.png"),
    "x" * 251 + ".png",
    " blank .png",
    "a|b;c.png",
    "[1].png",
    "NA.png",
    "naïve-\U0001f600.png",
    "tab\there.png",
]
CLASSES = (f'{SCRIPT}, "q"', "\u202eowl|dog\u202c", "'=cat " + "y" * 240)
SHORT = {"convert", "select", "noise", "relabel propose", "partition", "dedup", "report"}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("odd") / "w", NAMES, CLASSES)


@pytest.mark.parametrize("name", [n for n in COMMANDS if n not in SERVES | SLOW])
def test_command_takes_odd_names_or_says_which_it_does_not(
    name: str, odd: Path, tmp_path: Path
) -> None:
    if not ALL and name not in SHORT:
        pytest.skip("RETEACH_FAULTS=all gives odd names to every command")
    words, patterns = COMMANDS[name]
    out = make_out(odd, tmp_path / "out")
    code, told = _in_a_process(said(words, odd, out), lambda: None, tmp_path / "log")
    assert "Traceback" not in told, told
    assert code in (0, 2), told
    if code == 2:
        assert told.strip().splitlines()[-1].startswith("reteach: "), told
        return
    assert all(any(out.glob(pattern)) for pattern in patterns)
    assert "\u202e" not in told, "a name turns the terminal's reading direction"
    for file in out.rglob("*"):
        if file.suffix == ".html":
            assert SCRIPT not in file.read_text(), f"{file.name} runs a class name"
        if file.suffix == ".csv":
            with file.open(newline="") as lines:
                widths = {len(row) for row in csv.reader(lines, strict=True)}
            assert len(widths) == 1, file


def test_odd_names_come_back_from_tables_of_both_kinds(tmp_path: Path) -> None:
    items = tuple(map(item_id, NAMES))
    table = LabelTable(items, Single(np.arange(16) % 3, CLASSES))
    for kind in ("csv", "parquet"):
        file = tmp_path / f"labels.{kind}"
        write_labels(file, table)
        read = read_labels(file)
        assert read.items == items
        assert read.labels.classes == CLASSES
        assert read.labels.digest() == table.labels.digest()


def test_ten_thousand_classes_in_bounded_time_and_memory(tmp_path: Path) -> None:
    classes = tuple(f"class {n:05}, of many" for n in range(10_000))
    items = [f"{n:05}.png" for n in range(2000)]
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 10_000, 2000)
    write_labels(tmp_path / "labels.csv", LabelTable(tuple(items), Single(labels, classes)))
    with ScoreWriter(tmp_path / "scores.parquet", classes) as out:
        for start in range(0, 2000, 100):
            scores = draw.random((100, 10_000), np.float32)
            scores[np.arange(100), labels[start : start + 100]] += 5
            shares = scores / scores.sum(1, keepdims=True)
            top = np.where(shares >= np.sort(shares, 1)[:, -5:-4], shares, 0)
            out.write_dense(items[start : start + 100], top)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    picks = tmp_path / "picks.parquet"
    words = f"select {tmp_path}/scores.parquet --per-class 1 --out {picks}"
    assert main(words.split()) == 0
    table = read_labels(tmp_path / "labels.csv")
    write_labels(tmp_path / "labels.parquet", table)
    assert read_labels(tmp_path / "labels.parquet").labels.classes == classes
    assert len(pq.read_table(picks)) > 1000
    assert time.process_time() - began < 30
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6 < 1.5
