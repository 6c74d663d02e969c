"""Hostile and damaged input: one line, no hang; each format is read in one place, where that is seen to."""

from __future__ import annotations

import ast
import json
import os
import sqlite3
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reteach
from reteach.cli import main
from reteach.errors import UserError
from reteach.labels import Multi
from reteach.options.train import mile
from reteach.runs import config
from reteach.runs.config_flags import flags
from reteach.structured import parse_json, parse_yaml
from reteach.tables import LabelTable, read_labels, write_labels

from .fuzz import fuzz
from .mutations import TEXTS
from .readers import READERS

CASES = int(os.environ.get("RETEACH_FUZZ", "300"))
ROOT = Path(reteach.__file__).parent
PARQUET = ("pq.read_table", "pq.read_schema", "pq.read_metadata", "pq.ParquetFile")
HOME = {
    **dict.fromkeys(("json.loads", "json.load", "yaml.safe_load", "yaml.load"), "structured.py"),
    **dict.fromkeys(PARQUET, "parquet.py"),
    "np.load": "npz.py",
}
SEALED = {
    "linear_probe.py",
    "run.py",
    "originals.py",
    "data.py",
    "advise.py",
    "held_out.py",
    "prepared.py",
}
"""Arrays of our own, whose checksum is held against them before; and the digits of scikit-learn."""


def test_each_format_is_read_in_one_place():
    elsewhere = []
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in HOME:
                home = {HOME[name], *(SEALED if name == "np.load" else ())}
                elsewhere += [] if file.name in home else [f"{file}:{node.lineno} {name}"]
    assert not elsewhere


BOMB = "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n" + "".join(
    f"{chr(99 + n)}: &{chr(99 + n)} [{', '.join([f'*{chr(98 + n)}'] * 9)}]\n" for n in range(8)
)
YAML = {
    "an alias": BOMB,
    "nested too deeply": "a: " + "[" * 5000,
    "stands there twice": "a: 1\na: 2",
    "larger than any settings": "a: 1\n" * 100_000,
    "character": "a: \x00",
}


@pytest.mark.parametrize("words", YAML)
def test_hostile_yaml_is_one_line_at_once(words):
    start = time.process_time()
    with pytest.raises(ValueError, match=words) as refused:
        parse_yaml(YAML[words])
    assert "\n" not in str(refused.value)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "text", [*YAML.values(), "training: {lr: .inf", "- 1", "method: []", "a: 2020-13-45"]
)
def test_hostile_yaml_as_a_configuration_is_one_line(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    for read in (lambda: config.load(file), lambda: flags(file, mile, "train mile")):
        with pytest.raises(UserError) as refused:
            read()
        assert "\n" not in str(refused.value)


def test_infinite_number_where_a_whole_one_is_meant_is_one_line(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("training: {steps: .inf}")
    with pytest.raises(UserError, match=r"steps must be a int, got inf"):
        flags(file, mile, "train mile")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 5000, "[" * 500 + "]" * 500, "9" * 5000, "\xff"]
)
def test_hostile_json_is_one_kind_of_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text.encode("latin1"))


def test_deep_json_in_a_cell_of_a_label_table_is_one_line(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text(f'item,labels\na.png,"{"[" * 100_000}"\n')
    with pytest.raises(UserError, match="look like a JSON list"):
        read_labels(file)


def test_cell_of_200_000_characters_is_read(tmp_path):
    file = tmp_path / "labels.csv"
    name = "x" * 200_000
    file.write_text(f"item,labels\na.png,{name}\n")
    assert read_labels(file).labels.classes == (name,)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"PAR1" + b"\0" * 90 + b"PAR1", b"item,labels\n\xff,a"]
)
def test_damaged_label_file_is_one_line(tmp_path, capsys, suffix, content):
    file = tmp_path / f"labels{suffix}"
    file.write_bytes(content)
    out = ["--rate", "0.1", "--out", f"{tmp_path}/o.csv"]
    assert main(["noise", "--labels", str(file), *out]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("reteach: ")
    assert "\n" not in told


def test_flipped_bits_of_label_and_score_tables_are_noticed(tmp_path):
    file = tmp_path / "labels.parquet"
    items = tuple(f"{n}.png" for n in range(300))
    labels = Multi.from_dense(np.random.default_rng(0).random((300, 4)) < 0.5, tuple("abcd"))
    write_labels(file, LabelTable(items, labels, ""))
    data, silent = file.read_bytes(), 0
    for at in range(4, len(data) // 2, 37):  # the pages come first
        file.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        try:
            found = read_labels(file)
            silent += found.labels.digest() != labels.digest() or found.items != items
        except UserError:
            pass
    assert silent == 0


def test_damaged_store_is_one_line(tmp_path):
    from reteach.rating.read import read_ratings

    READERS["ratings store"].make(tmp_path)
    file = tmp_path / "s.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE questions SET class_id = 'x' WHERE id = 0")
    connection.close()
    with pytest.raises(UserError, match="is damaged"):
        read_ratings(file)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"rating store .*s\.sqlite"):
        read_ratings(file)


def test_message_with_a_hostile_name_stays_on_one_line(tmp_path, capsys):
    name = "a\n\x1b[2Jb\u202e" + "é" * 100
    assert main(["report", str(tmp_path / name)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "\x1b" not in told
    assert "\u202e" not in told


HOSTILE = st.sampled_from([t for t in TEXTS if len(t) < 400]) | st.text(min_size=1, max_size=40)
NAMES = st.lists(
    HOSTILE.filter(lambda t: t.strip() == t != ""), min_size=2, max_size=5, unique=True
)


@given(NAMES, NAMES, st.sampled_from([".csv", ".parquet"]))
@settings(max_examples=40, deadline=None)
def test_label_tables_keep_any_names(tmp_path_factory, items, classes, suffix):
    file = tmp_path_factory.getbasetemp() / f"names{suffix}"
    labels = Multi.from_dense(np.eye(len(items), len(classes)) > 0, tuple(classes))
    try:
        write_labels(file, LabelTable(tuple(items), labels, "x"))
    except UserError:  # said aloud: no way to keep it
        return
    found = read_labels(file)
    assert found.items == tuple(items)
    assert found.labels.classes == tuple(classes)
    assert found.labels.digest() == labels.digest()


def test_names_of_255_bytes_and_of_other_encodings_are_read_and_written(tmp_path):
    from reteach.data.sources.base import open_source
    from reteach.files import atomic_write

    long = "é" * 125 + "a.png"
    assert len(long.encode()) == 255
    folder = tmp_path / "photos"
    folder.mkdir()
    data = READERS["image PNG"].make(tmp_path)[0].read_bytes()
    for name in (long.encode(), b"\xff\xfe.png", b"a,\"<b>'\n.png", "\u202ea.png".encode()):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(data)
    source = open_source(str(folder))
    assert len(source.items) == 4
    assert all(source.read(row).shape == (12, 10, 3) for row in range(4))
    atomic_write(tmp_path / long, "x")
    assert (tmp_path / long).read_text() == "x"


def test_mutated_files_end_well():
    """A sample of ``python -m tests.faults.fuzz``; RETEACH_FUZZ says how many."""
    assert [f"{f.case} {f.reader} {f.what}" for f in fuzz(range(CASES), seed=1)] == []


def test_fuzzing_finds_what_it_is_meant_to_find(monkeypatch):
    """Readers with a traceback, a hang, a silent change, a file elsewhere and a crash."""
    from . import fuzz as harness
    from .readers import Reader

    def good(folder: Path) -> list[Path]:
        (folder / "x.json").write_text(json.dumps({"a": 1}))
        return [folder / "x.json"]

    def broken(folder: Path) -> bool:
        return (folder / "x.json").read_bytes() != json.dumps({"a": 1}).encode()

    def traceback(folder: Path) -> None:
        assert not broken(folder)

    def hang(folder: Path) -> None:
        while broken(folder):
            pass

    def elsewhere(folder: Path) -> None:
        if broken(folder):
            Path("here").touch()

    def crash(folder: Path) -> None:
        if broken(folder):
            os._exit(3)

    monkeypatch.setattr(harness, "SECONDS", 0.1)
    readers = {
        "traceback": Reader(good, traceback),
        "hang": Reader(good, hang),
        "silent": Reader(good, broken, sealed=True),
        "elsewhere": Reader(good, elsewhere),
        "crash": Reader(good, crash),
    }
    monkeypatch.setattr(harness, "READERS", readers)
    words = {"traceback": "AssertionError", "hang": "took more than", "silent": "another result"}
    words |= {"elsewhere": "wrote elsewhere", "crash": "ended with 3"}
    for name, said in words.items():
        found = list(fuzz(range(2), seed=3, names=[name]))
        assert found, name
        assert said in found[0].what


def test_metadata_of_a_score_table_that_are_no_text_are_one_line(tmp_path, capsys):
    schema = pa.schema([("item", pa.string()), ("class", pa.string()), ("score", pa.float32())])
    table = pa.table([["a.png"], ["cat"], [0.5]], schema=schema)
    file = tmp_path / "scores.parquet"
    pq.write_table(table.replace_schema_metadata({b"reteach.teacher": b"\xff\xfe"}), file)
    assert (
        main(["select", str(file), "--per-class", "1", "--out", str(tmp_path / "p.parquet")]) == 2
    )
    said = capsys.readouterr().err.strip().splitlines()
    assert "scores.parquet" in said[-1]
    assert "Traceback" not in "".join(said)


def test_index_of_models_that_names_none_is_one_line(tmp_path):
    reader = READERS["models under right checksums"]
    reader.make(tmp_path)
    (plain,) = tmp_path.rglob("index.plain.json")
    plain.write_text(json.dumps(json.loads(plain.read_text()) | {"predictors": {}}))
    with pytest.raises(UserError, match="names no model"):
        reader.read(tmp_path)
