"""Cells that no spreadsheet runs, and that come back as they were."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
