"""Metrics in words: a title with its meaning as a tooltip, and the glossary of a page."""

from __future__ import annotations

from collections.abc import Iterable

from ..metrics.registry import GROUPS, metric
from .kit.blocks import terms
from .kit.html import Html, tag
from .kit.page import Section


def abbr(name: str) -> Html:
    """A metric's title with its meaning as a tooltip."""
    words = metric(name)
    return tag("abbr", words.title, title=words.text) if words.text else tag("span", words.title)


def glossary(names: Iterable[str]) -> Section | None:
    """A section of the metrics' meanings in the order of their groups; None if none is known."""
    found = {metric(name).title: metric(name) for name in names}
    known = [words for words in found.values() if words.text and words.group in GROUPS]
    known.sort(key=lambda words: (GROUPS.index(words.group), words.title))
    if not known:
        return None
    words = terms(((words.title, words.text) for words in known), class_="glossary")
    return Section("glossary", "Glossary", None, words)
