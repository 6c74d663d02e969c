"""Tables of tags that do not fit: read in pieces, sorted in little memory, the same labels in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reteach.errors import UserError
from reteach.relabel.selection import database
from reteach.relabel.selection.database import Limits
from reteach.relabel.weak import tag_tables
from reteach.relabel.weak.hashtags import Matcher
from reteach.relabel.weak.tag_tables import label_tags

pytest.importorskip("duckdb")
WORDS = ("fox", "wolf", "bear", "sky")


def _tags(file: Path, items: int, rows: int) -> list[tuple[str, list[str], list[float]]]:
    """Rows of a tag each, in no order, also one item of very many; what comes of them, by a plain loop."""
    draw = np.random.default_rng(0)
    names = [f"{'ä' if i % 3 else 'z'}{i}.jpg" for i in draw.integers(0, items, rows)]
    tags = [WORDS[t] for t in draw.integers(0, len(WORDS), rows)]
    names += ["m.jpg"] * 60
    tags += ["wolf", "fox"] * 30
    pq.write_table(pa.table({"item": names, "tag": tags}), file)
    found: dict[str, dict[str, float]] = {}
    for name, tag in zip(names, tags, strict=True):
        if tag != "sky":
            each = found.setdefault(name, {})
            each[tag] = each.get(tag, 0.0) + 1
    return [
        (name, [w for w in WORDS if w in found[name]], [found[name][w] for w in WORDS if w in found[name]])
        for name in sorted(found, key=str.encode)
    ]  # fmt: skip


def _rows(file: Path) -> list[tuple[str, list[str], list[float]]]:
    table = pq.read_table(file)
    columns = (table[name].to_pylist() for name in ("item", "labels", "weight"))
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("batch", [4, 40, 2**17])
def test_same_rows_in_the_same_order_for_pieces_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(tag_tables, "BATCH", batch)
    wanted = _tags(tmp_path / "tags.parquet", 150, 400)
    found = label_tags(tmp_path / "tags.parquet", tmp_path / "out.parquet", Matcher(WORDS[:3]))
    assert _rows(tmp_path / "out.parquet") == wanted
    assert found.labelled == len(wanted)
    assert found.counts.tolist() == [sum(w in row[1] for row in wanted) for w in WORDS[:3]]


def test_memory_that_was_not_enough_is_doubled_up_to_what_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out, match = tmp_path / "tags.parquet", tmp_path / "out.parquet", Matcher(WORDS[:3])
    wanted = _tags(table, 40_000, 100_000)
    told = []
    run = database.Database.run

    def listening(self, sql, files=None):
        if sql.startswith("set memory_limit"):
            told.append(sql.split("'")[1])
        return run(self, sql, files)

    monkeypatch.setattr(database.Database, "run", listening)
    monkeypatch.setattr(database, "LEAST_MB", 1)
    label_tags(table, out, match, Limits(100, 1))
    assert _rows(out) == wanted
    assert {"1MB", "2MB", "4MB"} <= set(told) <= {f"{n}MB" for n in (1, 2, 4, 8, 16, 32, 64, 100)}
    assert told[-1] == "100MB"
    with pytest.raises(UserError, match="needs more than 2 MB of memory"):
        label_tags(table, out, match, Limits(2, 1))


@pytest.mark.parametrize("name", ["tags", "pairs", "sorted", "given"])
def test_a_table_may_be_called_what_it_likes(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.csv").write_text("item,tag\nb,fox\na,fox\n")
    label_tags(tmp_path / f"{name}.csv", tmp_path / "out.parquet", Matcher(["fox"]))
    assert [row[0] for row in _rows(tmp_path / "out.parquet")] == ["a", "b"]


def test_rows_that_are_not_sorted_are_refused(tmp_path: Path) -> None:
    """They would give an item twice."""
    rows = {"item": ["a", "c", "b"], "class": pa.array([0, 0, 0], pa.int64())}
    pq.write_table(pa.table(rows), tmp_path / "sorted.parquet")
    with pytest.raises(UserError, match="DuckDB did not sort the items"):
        list(tag_tables._whole_items(tmp_path / "sorted.parquet"))


def test_the_optimizer_that_loses_the_order_is_off_where_there_is_one(tmp_path: Path) -> None:
    """DuckDB 2.0.1 with one thread wrote 10 million sorted rows, and some of the middle at the end."""
    with database.database("a test", Limits(64, 1), tmp_path) as db:
        known = db.run("select name from duckdb_optimizers()")
        off = db.run("select value from duckdb_settings() where name = 'disabled_optimizers'")
    there = ("partitioned_execution",) in known
    assert off == [("partitioned_execution" if there else "",)]
