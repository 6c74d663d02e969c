"""Cells that no spreadsheet runs, and that come back as they were."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reteach.errors import UserError
from reteach.spreadsheet import from_csv, guard, to_csv, unguard

INVISIBLE = [
    "\u200e",
    "\u200f",
    "\u2060",
    "\u00ad",
    "\ufeff",
    "\x00",
    "\u200b",
    "\u202a",
    "\u2003",
    " ",
    "\n",
]
SIGNS = list("=+-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b")


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("lead", ["", *INVISIBLE, "\u2060 \u00ad"])
def test_formulas_behind_invisible_characters_and_in_small_forms_are_guarded(lead, sign):
    assert guard(f"{lead}{sign}1+1") == f"'{lead}{sign}1+1"


@pytest.mark.parametrize(
    "cell", ["", "cat", " cat", "'cat", "\u200ecat", "a=1", "1-2", "\u2060", "'"]
)
def test_other_text_stays_as_it_is(cell):
    assert guard(cell) == cell


PIECES = st.sampled_from([*INVISIBLE, *SIGNS, "'", "a", "\t", "\r"])


@given(st.text() | st.lists(PIECES, max_size=6).map("".join))
@settings(max_examples=400, deadline=None)
def test_guard_and_unguard_are_the_identity_on_any_text(text):
    assert unguard(guard(text)) == text
    assert guard(text) in (text, f"'{text}")


def test_guarded_cells_survive_a_file(tmp_path):
    cells = [lead + sign for lead in INVISIBLE for sign in SIGNS]
    (tmp_path / "t.csv").write_text(to_csv(["cell"], [[c] for c in cells]), "utf-8", newline="")
    _, rows = from_csv(tmp_path / "t.csv", "table")
    assert [row["cell"] for _, row in rows] == cells


def _readers():
    """Every reader of a user's CSV: (name, two columns that it needs, the reader)."""
    from reteach.relabel.raters.rating_tables import read_rating_table
    from reteach.relabel.selection.item_lists import read_items
    from reteach.relabel.weak.tag_tables import read_names
    from reteach.scores.classes import read_classes
    from reteach.tables import read_labels

    return [
        pytest.param(["item", "labels"], read_labels, id="labels"),
        pytest.param(["task", "rater", "answer"], read_rating_table, id="ratings"),
        pytest.param(["item", "why"], read_items, id="items"),
        pytest.param(["class", "names"], read_names, id="names"),
        pytest.param(["class", "words"], read_classes, id="classes"),
        pytest.param(["class", "title"], _descriptions, id="descriptions"),
        pytest.param(["item", "tag"], _tags, id="tags"),
    ]


def _descriptions(path):
    pytest.importorskip("sqlalchemy", reason="the extra 'rating' is not installed")
    from reteach.rating.class_descriptions import read_names

    return read_names(path)


def _tags(path):
    pytest.importorskip("duckdb", reason="the extra 'select' is not installed")
    from reteach.relabel.weak.hashtags import Matcher
    from reteach.relabel.weak.tag_tables import label_tags

    return label_tags(path, path.with_name("out.parquet"), Matcher(["y0"]))


@pytest.mark.parametrize(("columns", "read"), _readers())
def test_an_unclosed_quote_swallows_no_rows(tmp_path, columns, read):
    """The rows behind it would be one cell; the message names the line in which it is opened."""
    rows = [[f"{'xyz'[k % 3]}{n}" for k in range(len(columns))] for n in range(5)]
    text = "\n".join(",".join(cells) for cells in [columns, *rows])
    read(_written(tmp_path / "good.csv", text))
    rows[2][-1] = '"' + rows[2][-1]
    broken = "\n".join(",".join(cells) for cells in [columns, *rows])
    with pytest.raises(UserError, match=r"bad\.csv: .*from line 4 on.*quote"):
        read(_written(tmp_path / "bad.csv", broken))


@pytest.mark.parametrize(("columns", "read"), _readers())
def test_a_column_that_stands_twice_is_an_error(tmp_path, columns, read):
    rows = [[*columns, columns[-1]], *([f"{'xyz'[k % 3]}0" for k in range(len(columns))] + ["z"],)]
    text = "\n".join(",".join(cells) for cells in rows)
    with pytest.raises(UserError, match=rf"twice\.csv: the column '{columns[-1]}' stands twice"):
        read(_written(tmp_path / "twice.csv", text))


@pytest.mark.parametrize(("columns", "read"), _readers())
def test_marks_line_ends_empty_lines_and_long_cells_lose_no_rows(tmp_path, columns, read):
    """A byte-order mark, CRLF, empty lines, and a cell above the csv module's own limit of 128 KiB."""
    rows = [[f"{'xyz'[k % 3]}{n}" for k in range(len(columns))] for n in range(3)]
    rows[1][0] += "n" * 140_000
    plain = "".join(",".join(cells) + "\n" for cells in [columns, *rows])
    other = "\ufeff" + plain.replace("\n", "\r\n\r\n")
    first, second = (
        read(_written(tmp_path / name / "t.csv", text))
        for name, text in (("a", plain), ("b", other))
    )
    first, second = (re.sub("/[ab]/| at 0x[0-9a-f]+", "", repr(each)) for each in (first, second))
    assert first == second
    assert rows[1][0] in first or "images=3" in first


def _written(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())
    return path
