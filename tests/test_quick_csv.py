"""Large CSVs by columns: the same tables and the same refusals as row by row."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reteach import quick_csv, table_files, text_column
from reteach.errors import UserError
from reteach.labels import Soft
from reteach.tables import LabelTable, read_labels, write_labels
from reteach.text_column import TextColumn
from tests.faults.mutations import mutated
from tests.faults.readers import READERS


def read(file: Path) -> Any:
    """Everything that is known of a table, or how it is refused."""
    try:
        table = read_labels(file)
    except UserError as error:
        return str(error)
    items = tuple(table.items)
    assert table.items == items
    assert items == table.items
    return (
        items,
        type(table.labels),
        table.labels.classes,
        table.labels.digest(),
        table.source,
    )


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Bytes of a CSV -> (by columns, row by row, whether columns could be taken)."""
    took: list[bool] = []
    quick = quick_csv.quick_columns

    def noted(*given: Any) -> Any:
        found = quick(*given)
        took.append(found is not None)
        return found

    def readings(data: bytes) -> tuple[Any, Any, bool]:
        file = tmp_path / "labels.csv"
        file.write_bytes(data)
        took.clear()
        monkeypatch.setattr(quick_csv, "WORTH", 0)
        monkeypatch.setattr(table_files, "quick_columns", noted)
        by_columns = read(file)
        monkeypatch.setattr(table_files, "quick_columns", lambda *_: None)
        return by_columns, read(file), any(took)

    return readings


PLAIN = (
    b"item,labels\na.png,cat|dog\nb.png,\nc.png,cat\n",
    b"\xef\xbb\xbfitem,labels\r\na.png,cat\r\n\r\nb.png,dog\r\n",
    b'item,labels,classes\n"a,b.png",cat,"[""cat"",""dog""]"\nb.png,dog,\n',
    b"item,labels,weight\na.png,cat|dog,0.2|0.8\nb.png,cat,1\n",
    b"item,labels,unknown,kind\na.png,cat,dog,multi\nb.png,,cat,multi\n",
    b"item,labels,other\n'=a.png,'=cat,x\n' b.png, cat ,y\n",
    b'item,labels\na.png,"[""cat"", ""dog|owl""]"\n',
    b"item, labels \na.png,NA1\nb.png,null1",
)
HOSTILE = (
    b"",
    b"\n",
    b"\nitem,labels\na,b\n",
    b"item,labels",
    b"item,labels\n",
    b"item,labels\na,b,c\n",
    b"item,labels\na\n",
    b'item,labels\na,"b\n',
    b'item,labels\na,"b"c\n',
    b'item,labels\na,b"c\n',
    b'item,labels\na, "b"\n',
    b'item,labels\na,""\nb,""""\n',
    b'item,labels\n"a\nb",c\n',
    b"item,labels\na,b\rc,d\n",
    b"item,labels\r\na,b\nc,d\r\n",
    b"item,labels\na,b\0\n",
    b"item,labels\na,\xff\n",
    b"item,labels,x\na,b,\xff\n",
    b"item,labels\na,NA\nb,c\n",
    b"item,labels\n,b\n",
    b"item,labels\na,b\na,c\n",
    b"item,item,labels\na,a,b\n",
    b"item,labels,kind\na,b,single\nc,d,\n",
    b"item,labels,kind\na,b,single\nc,d,multi\n",
    b"item,labels,kind\na,b,thing\n",
    b"item,labels,classes\na,b,[\n",
    b'item,labels,classes\na,b,"[""b""]"\nc,b,"[""x""]"\n',
    b"item,labels,weight\na,b|c,1\n",
    b"item,labels,weight\na,b,x\n",
    b"item,labels,weight\na,b,-1\n",
    b"item,labels\na,[x\n",
    b"item,labels\n'a,'b\n",
)


@pytest.mark.parametrize("data", PLAIN)
def test_plain_tables_are_read_by_columns_and_alike(both, data):
    by_columns, by_rows, took = both(data)
    assert took
    assert by_columns == by_rows
    assert not isinstance(by_rows, str)


@pytest.mark.parametrize("data", HOSTILE)
def test_hostile_tables_are_refused_or_read_alike(both, data):
    by_columns, by_rows, _ = both(data)
    assert by_columns == by_rows


def test_mutated_tables_are_refused_or_read_alike(both, tmp_path):
    kinds = [name for name in READERS if name.startswith("labels") and name.endswith(".csv")]
    count = 0
    for number in range(240):
        folder = tmp_path / str(number % 3)
        folder.mkdir(exist_ok=True)
        data = READERS[kinds[number % 3]].make(folder)[0].read_bytes()
        by_columns, by_rows, took = both(mutated(data, ".csv", random.Random(number)))
        assert by_columns == by_rows, number
        count += took
    assert count > 60


def test_own_tables_of_every_kind_are_read_by_columns(both, tmp_path):
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 50).astype(np.float32)
    items = tuple(f"{n:03}.png" for n in range(50))
    table = LabelTable(items, Soft.from_dense(weights, ("=a", "b", "c d")), "by hand")
    write_labels(tmp_path / "soft.csv", table)
    by_columns, by_rows, took = both((tmp_path / "soft.csv").read_bytes())
    assert took
    assert (
        by_columns
        == by_rows
        == (items, Soft, table.labels.classes, table.labels.digest(), "by hand")
    )


def test_repeated_item_of_a_large_table_is_named_with_its_rows(both):
    names = [f"{n * 7919 % 40_000:05}.png" for n in range(40_000)]
    rows = [f"{name},cat" for name in names]
    by_columns, by_rows, took = both("\n".join(["item,labels", *rows]).encode())
    assert took
    assert by_columns == by_rows
    assert by_columns[0] == tuple(names)
    rows[33_333] = rows[21]
    by_columns, by_rows, took = both("\n".join(["item,labels", *rows]).encode())
    assert took
    assert by_columns == by_rows
    assert f"item {names[21]!r} stands in rows 22 and 33334" in by_columns


def test_items_of_one_hash_are_compared(both, monkeypatch):
    monkeypatch.setattr(
        text_column, "_hashes", lambda starts, _: np.zeros(len(starts) - 1, np.uint64)
    )
    by_columns, by_rows, took = both(b"item,labels\nb,x\na,y\n")
    assert took
    assert by_columns == by_rows
    assert by_columns[0] == ("b", "a")


@given(
    st.lists(st.text(max_size=9), max_size=30),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from((0, 9)),
)
def test_whether_texts_are_surely_different(texts, start, coded, many):
    array = pa.array(texts, pa.large_string())
    column = TextColumn(array.dictionary_encode() if coded else array)[start:]
    rest = texts[start:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_column, "_BYTES", 16)
        patch.setattr(text_column, "_MANY", many)
        sure = column.surely_different()
    different = len(set(rest)) == len(rest) and "" not in rest
    assert not sure or different
    if different and max((len(text.encode()) for text in rest), default=0) <= 16:
        assert sure


def test_items_of_a_large_table_are_written_and_chosen_like_any(tmp_path, monkeypatch):
    monkeypatch.setattr(quick_csv, "WORTH", 0)
    (tmp_path / "a.csv").write_text("item,labels\nb,x\na,\nc,y|x\n")
    table = read_labels(tmp_path / "a.csv")
    assert isinstance(table.items, TextColumn)
    for name in ("b.csv", "b.parquet"):
        write_labels(tmp_path / name, table)
        again = read_labels(tmp_path / name)
        assert tuple(again.items) == ("b", "a", "c")
        assert again.labels.digest() == table.labels.digest()
    assert table.aligned(["c", "a", "b"]).names() == [["x", "y"], [], ["x"]]
    with pytest.raises(UserError, match=r"1 of 3 items are not among the images, first: 'b'"):
        table.aligned(["c", "a"])


@pytest.mark.parametrize("block", [1, 2, 3, 7])
@pytest.mark.parametrize("data", [*PLAIN, *HOSTILE])
def test_whether_a_file_is_plain_does_not_depend_on_where_its_blocks_end(
    monkeypatch, tmp_path, data, block
):
    file = tmp_path / "labels.csv"
    file.write_bytes(data)
    whole = quick_csv._plain(file)
    monkeypatch.setattr(quick_csv, "_LOOK", block)
    assert quick_csv._plain(file) == whole


def test_a_line_longer_than_what_is_read_at_once_is_left_to_the_strict_reader(
    monkeypatch, tmp_path
):
    file = tmp_path / "labels.csv"
    file.write_bytes(b"item,labels\n" + b"a" * 90 + b",b\n")
    assert quick_csv._plain(file)
    monkeypatch.setattr(quick_csv, "_LOOK", 8)
    monkeypatch.setattr(quick_csv, "_BLOCK", 64)
    assert not quick_csv._plain(file)
