"""Rows of names among others, and names that stand twice, against literal loops."""

from hypothesis import given
from hypothesis import strategies as st

from reteach.item_index import first_repeated, rows_among

names = st.lists(st.sampled_from("abcdef"), max_size=8)


@given(names, st.lists(st.sampled_from("abcdef"), unique=True))
def test_rows_among_is_where_each_name_stands(found: list[str], among: list[str]) -> None:
    wanted = [among.index(name) if name in among else -1 for name in found]
    rows = rows_among(found, among)
    assert rows.tolist() == wanted
    assert rows.dtype == "int64"


@given(names)
def test_first_repeated_is_the_first_name_that_stood_before(found: list[str]) -> None:
    wanted = next((name for i, name in enumerate(found) if name in found[:i]), None)
    assert first_repeated(found) == wanted
