"""Item lists: what is written is read again, and no spreadsheet runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reteach.errors import UserError
from reteach.relabel.selection.item_lists import read_items, write_items

ITEMS = ["a/b.jpg", "=1+1.jpg", "'=x", "é, ü.png", '"quoted".jpg', "-5", " spaced "]


@pytest.mark.parametrize("ending", [".txt", ".csv", ".parquet"])
def test_round_trip(tmp_path: Path, ending: str) -> None:
    write_items(tmp_path / f"x{ending}", ITEMS)
    assert read_items(tmp_path / f"x{ending}") == ITEMS
    write_items(tmp_path / f"x{ending}", [])
    assert read_items(tmp_path / f"x{ending}") == []


def test_formulas_are_disarmed(tmp_path: Path) -> None:
    write_items(tmp_path / "x.csv", ITEMS)
    for line in (tmp_path / "x.csv").read_text().splitlines():
        assert line[0] not in "=+-@"


def test_line_breaks_and_bad_files(tmp_path: Path) -> None:
    write_items(tmp_path / "x.parquet", ["a\nb"])
    assert read_items(tmp_path / "x.parquet") == ["a\nb"]
    with pytest.raises(UserError, match="has a line break"):
        write_items(tmp_path / "x.txt", ["a\nb"])
    (tmp_path / "bad.parquet").write_text("x")
    (tmp_path / "bad.csv").write_text("name\na\n")
    (tmp_path / "latin.txt").write_bytes(b"\xe9.jpg\n")
    for name, words in {
        "bad.parquet": "not a readable Parquet",
        "bad.csv": "no column 'item'",
        "latin.txt": "UTF-8",
        "none.txt": "does not exist",
        "x.doc": "does not exist",
    }.items():
        with pytest.raises(UserError, match=words):
            read_items(tmp_path / name)


def test_surplus_cells_are_an_error(tmp_path: Path) -> None:
    """An item with a comma and no quotes would be another item, and exclude nothing."""
    (tmp_path / "x.csv").write_text("item\nBread, white.jpg\n")
    with pytest.raises(UserError, match="line 2 has 2 cells for 1 columns"):
        read_items(tmp_path / "x.csv")
