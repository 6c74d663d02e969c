"""Large CSVs by columns: the same tables and the same refusals as row by row."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reteach import quick_csv, table_files
from reteach.errors import UserError
from reteach.labels import Soft
from reteach.tables import LabelTable, read_labels, write_labels
from tests.faults.mutations import mutated
from tests.faults.readers import READERS


def read(file: Path) -> Any:
    """Everything that is known of a table, or how it is refused."""
    try:
        table = read_labels(file)
    except UserError as error:
        return str(error)
    return (
        table.items,
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
