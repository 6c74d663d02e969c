"""Escaping: whatever the text, it comes back as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_fakes import EVIL
from report_pages import read
from reteach.report.kit.html import Html, clean, escape, join, tag

anything = st.text(alphabet=st.characters(codec=None))  # also lone surrogates


@given(anything, anything)
def test_text_and_attributes_come_back(text: str, attribute: str) -> None:
    tree = read(tag("p", text, title=attribute))
    (paragraph,) = tree.children
    assert not paragraph.children
    assert paragraph.text == clean(text)
    assert paragraph.attributes == {"title": clean(attribute)}
    tag("p", text).encode("utf-8")  # no lone surrogate is left


@pytest.mark.parametrize("name", EVIL)
def test_clean_keeps_what_can_be_read(name: str) -> None:
    kept = clean(name)
    assert len(kept) == len(name)
    assert [k for k in kept if k.isascii()] == [
        c for c in name if c.isascii() and (c.isprintable() or c in "\t\n")
    ]


def test_nested_html_is_not_escaped_twice() -> None:
    inner = tag("b", "a & b")
    assert inner == "<b>a &amp; b</b>"
    assert tag("p", [inner, None, 3, " <"], class_="x", data_y=True, hidden=False) == (
        '<p class="x" data-y><b>a &amp; b</b>3 &lt;</p>'
    )
    assert join("<", Html("<i>"), escape("'")) == "&lt;<i>&#x27;"
    assert tag("meta", name="a") == '<meta name="a">'
