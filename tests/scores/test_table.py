"""Score tables: written, read as a stream, and refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reteach.errors import UserError
from reteach.item_index import ItemIndex
from reteach.scores.classes import common_classes, read_classes
from reteach.scores.table import ScoreTable, ScoreWriter, open_scores

CLASSES = ("a", "b", "c")


def rows_of(table: ScoreTable, classes: tuple[str, ...] = CLASSES, size: int = 4) -> list[tuple]:
    index = ItemIndex()
    out = []
    for batch in table.batches(index, classes, size):
        assert len(batch.item) <= size
        logit = batch.score * 0 if batch.logit is None else batch.logit
        for i, c, s, x in zip(batch.item, batch.cls, batch.score, logit, strict=True):
            out.append((index.names[i], classes[c], float(s), float(x)))
    return out


def raw(path: Path, metadata: dict[str, str] | None = None, **columns: object) -> Path:
    base = {"item": ["x", "x", "y"], "class": [0, 1, 2], "score": [0.5, 0.25, 1.0]}
    table = pa.table({**base, **columns})
    if metadata is not None:
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("logits", [False, True])
def test_there_and_back(tmp_path: Path, logits: bool) -> None:
    rng = np.random.default_rng(0)
    score, logit = rng.random((2, 5, 3)).astype(np.float32)
    items = [f"{i}.jpg" for i in range(5)]
    with ScoreWriter(tmp_path / "s.parquet", CLASSES, logits=logits) as out:
        out.write_dense(items[:2], score[:2], logit[:2])
        out.write_dense(items[2:], score[2:], logit[2:])
    table = open_scores(tmp_path / "s.parquet")
    assert (table.rows, table.classes, table.named, table.has_logit) == (15, CLASSES, False, logits)
    assert rows_of(table) == [
        (items[i], CLASSES[c], float(score[i, c]), float(logit[i, c]) * logits)
        for i in range(5)
        for c in range(3)
    ]


def test_a_failure_leaves_no_table(tmp_path: Path) -> None:
    def fail() -> None:
        with ScoreWriter(tmp_path / "s.parquet", CLASSES) as out:
            out.write_dense(["x"], np.ones((1, 3)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_many_small_writes_make_one_row_group(tmp_path: Path) -> None:
    with ScoreWriter(tmp_path / "s.parquet", CLASSES, double=True) as out:
        for i in range(50):
            out.write([f"{i}"], np.array([0]), np.array([i % 3]), np.array([1 / 3]))
    file = pq.ParquetFile(tmp_path / "s.parquet")
    assert file.metadata.num_row_groups == 1
    assert file.read()["score"].to_pylist() == [1 / 3] * 50


def test_shards_names_and_other_types(tmp_path: Path) -> None:
    expected = [("x", "a", 0.5, 0.0), ("x", "b", 0.25, 0.0), ("y", "c", 1.0, 0.0)]
    named = pa.array(["a", "b", "c"]).dictionary_encode()
    items = pa.array(["x", "x", "y"]).dictionary_encode()
    raw(tmp_path / "1.parquet", **{"class": named}, item=items, extra=[1, 2, 3])
    assert rows_of(open_scores(tmp_path / "1.parquet")) == expected
    assert rows_of(open_scores(tmp_path / "1.parquet"), ("c", "b", "a")) == expected
    (tmp_path / "folder").mkdir()
    for shard in ("0", "1"):
        raw(
            tmp_path / "folder" / f"{shard}.parquet", score=pa.array([0.5, 0.25, 1.0], pa.float64())
        )
    table = open_scores(tmp_path / "folder")
    assert table.rows == 6
    assert rows_of(table) == expected * 2


def test_classes_in_another_order(tmp_path: Path) -> None:
    listed = {"reteach.classes": json.dumps(["c", "a", "b"])}
    table = open_scores(raw(tmp_path / "s.parquet", listed))
    assert [row[1] for row in rows_of(table)] == ["c", "a", "b"]
    with pytest.raises(UserError, match="class 'c' is not in the class list"):
        rows_of(table, ("a", "b"))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"score": [0.5, float("nan"), 1.0]}, "not finite"),
        ({"score": [0.5, None, 1.0]}, "'score' has 1 empty cells"),
        ({"item": ["x", None, "y"]}, "'item' has 1 empty cells"),
        ({"class": [0, 1, 3]}, "run from 0 to 3, the class list has 3 names"),
        ({"class": [0, -1, 2]}, "run from -1 to 2"),
        ({"class": ["a", "b", "z"]}, "class 'z' is not in the class list"),
        ({"logit": [0.0, float("inf"), 1.0]}, "'logit' has values that are not finite"),
        ({"item": [1, 2, 3]}, "'item' is int64, expected string"),
        ({"class": [0.0, 1.0, 2.0]}, "'class' is double"),
        ({"score": ["1", "2", "3"]}, "'score' is string, expected a float"),
    ],
)
def test_faults_are_named(tmp_path: Path, columns: dict[str, list], words: str) -> None:
    with pytest.raises(UserError, match=words):
        rows_of(open_scores(raw(tmp_path / "s.parquet", **columns)))


def test_faults_of_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_scores(tmp_path / "none.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.parquet files"):
        open_scores(tmp_path / "empty")
    pq.write_table(pa.table({"item": ["x"], "class": [0]}), tmp_path / "s.parquet")
    with pytest.raises(UserError, match="no column 'score'"):
        open_scores(tmp_path / "s.parquet")
    good = raw(tmp_path / "good.parquet").read_bytes()
    (tmp_path / "bad.parquet").write_bytes(good[:-40])
    with pytest.raises(UserError, match=r"bad.parquet: not a readable Parquet file"):
        open_scores(tmp_path / "bad.parquet")
    (tmp_path / "shards").mkdir()
    raw(tmp_path / "shards" / "0.parquet")
    raw(tmp_path / "shards" / "1.parquet", logit=[0.0, 0.0, 0.0])
    with pytest.raises(UserError, match=r"1.parquet: columns or class list differ"):
        open_scores(tmp_path / "shards")
    raw(tmp_path / "c.parquet", {"reteach.classes": "{]"})
    with pytest.raises(UserError, match="class list in its metadata is damaged"):
        open_scores(tmp_path / "c.parquet")
    with pytest.raises(UserError, match="item 'y' is not in the label table"):
        for _ in open_scores(tmp_path / "good.parquet").batches(
            ItemIndex(["x"], closed=True), CLASSES
        ):
            pass


def test_the_common_class_list(tmp_path: Path) -> None:
    def table(name: str, classes: list[str] | None, **columns: object) -> ScoreTable:
        meta = None if classes is None else {"reteach.classes": json.dumps(classes)}
        return open_scores(raw(tmp_path / f"{name}.parquet", meta, **columns))

    one, two = table("one", ["a", "b", "c"]), table("two", ["c", "b", "a"])
    bare, named = table("bare", None), table("named", None, **{"class": ["a", "b", "c"]})
    assert common_classes([one, two, bare], ["a"]) == ("a", "b", "c")
    assert common_classes([bare], ["a"], ["x", "y", "a"]) == ("x", "y", "a")
    assert common_classes([named], ["b", "a", "c"]) == ("b", "a", "c")
    assert common_classes([bare], ["0", "4"]) == ("0", "1", "2", "3", "4")
    assert common_classes([bare], ["1"]) == ("0", "1", "2")
    with pytest.raises(UserError, match=r"scores of unequal classes: .*'d'"):
        common_classes([one, table("four", ["a", "b", "c", "d"])], [])
    with pytest.raises(UserError, match="first: 'z'"):
        common_classes([one], ["a", "z"])
    for tables in ([bare], [bare, named]):
        with pytest.raises(UserError, match="name one"):
            common_classes(tables, ["cat"])


def test_class_lists_from_files(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a\nb c\n\n")
    assert read_classes(tmp_path / "c.txt") == ("a", "b c")
    (tmp_path / "c.tsv").write_text("index\twnid\tlemmas\n0\tn1\ttench, x\n1\tn2\tgoldfish\n")
    assert read_classes(tmp_path / "c.tsv") == ("n1", "n2")
    (tmp_path / "c.csv").write_text("class\na\nBread, white\n")  # once a class that nobody missed
    with pytest.raises(UserError, match="line 3 has 2 cells for 1 columns"):
        read_classes(tmp_path / "c.csv")
    for text, words in (("a\na\n", "'a' is listed twice"), ("\n", "is empty")):
        (tmp_path / "c.txt").write_text(text)
        with pytest.raises(UserError, match=words):
            read_classes(tmp_path / "c.txt")
