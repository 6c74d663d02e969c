"""What a consensus did to the labels, with pictures: ReaL's Figure 2 for the user's own data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...analysis.label_changes import (
    AskedClass,
    ClassChange,
    ItemChange,
    Kind,
    class_changes,
    item_changes,
    most_disputed,
)
from ...analysis.outcome import Outcome
from ...formatting import count, decimal, percent, plural
from ..kit.blocks import card, cards, columns, named, photo, row, table, terms
from ..kit.html import Html, join, tag
from ..kit.page import Section

AT_ONCE = 12
Picture = Callable[[str], str | None]
"""Item -> a ``data:`` URL, None where it cannot be shown."""

_KINDS: dict[Kind, tuple[str, str]] = {
    "changed": (
        "Changed",
        "Another label stands in place of the original one, the likeliest new label first.",
    ),
    "added": ("Added", "The original label stays, and others come to it, the likeliest first."),
    "emptied": (
        "Emptied",
        "The original label went and none is left: the surest that it is not there first.",
    ),
    "new": ("New", "These items had no original label, the likeliest first."),
}
_SIGNS = {  # (has the label, had it): sign, words, style
    (True, True): ("✓", "kept", "right"),
    (True, False): ("+", "added", "extra"),
    (False, True): ("–", "removed", "missed"),
    (False, False): ("", "not there", None),
}


def change_sections(
    outcome: Outcome, picture: Picture | None = None, most: int = 0
) -> list[Section | None]:
    """Changes by class; and, where there are pictures, the changed and the disputed items.

    Args:
        most: items in each section.
    """
    changes = item_changes(outcome)
    sections: list[Section | None] = [_classes(outcome, changes)]
    if picture is not None:
        sections += [_changed(kind, changes, picture, most) for kind in _KINDS]
        sections.append(_disputed(changes, picture, most))
    return sections


def _classes(outcome: Outcome, changes: Sequence[ItemChange]) -> Section | None:
    found = class_changes(outcome, list(changes))
    if not found or all(change.kind == "new" for change in changes):
        return None
    heads = columns("class", "original", "removed", "added", "now")
    rows = [_class_row(each) for each in found]
    said = {kind: sum(change.kind == kind for change in changes) for kind in (*_KINDS, "kept")}
    words = [f"{count(n)} {kind}" for kind, n in said.items() if n]
    return Section(
        "changes",
        "What changed",
        f"Of {plural(len(changes), 'rated item')}: {', '.join(words)}. Below, classes that an item "
        "lost or won.",
        table(
            heads,
            [rows],
            "Labels by class, before and after",
            sortable=True,
            filter_="Find a class",
        ),
    )


def _class_row(of: ClassChange) -> Html:
    share = f" {percent(of.removed / of.original, 0)}%" if of.original else ""
    removed = tag("td", count(of.removed), tag("small", share), class_="n")
    return row(named(of.name), count(of.original), removed, count(of.added), count(of.now))


def _changed(
    kind: Kind, changes: Sequence[ItemChange], picture: Picture, most: int
) -> Section | None:
    mine = [change for change in changes if change.kind == kind]
    if not mine:
        return None
    # gold alone has no probability: last
    mine.sort(key=lambda change: -change.surest if change.surest == change.surest else 2.0)
    title, lead = _KINDS[kind]
    return _cards(kind, title, lead, mine, picture, most)


def _disputed(changes: Sequence[ItemChange], picture: Picture, most: int) -> Section | None:
    found = [change for _, change in most_disputed(list(changes))]
    lead = "Raters answer differently about one of the classes, the most evenly split first."
    return _cards("disputed", "Disputed", lead, found, picture, most) if found else None


def _cards(
    anchor: str,
    title: str,
    lead: str,
    changes: Sequence[ItemChange],
    picture: Picture,
    most: int,
) -> Section:
    left = len(changes) - most
    more = f" The first {count(most)} of {count(len(changes))} are shown." if left > 0 else ""
    made = [_card(change, picture) for change in changes[:most]]
    return Section(anchor, title, lead + more, join(_key(), cards(made, AT_ONCE)))


def _card(change: ItemChange, picture: Picture) -> Html:
    url = picture(change.item)
    image = tag("div", "no picture", class_="empty") if url is None else photo(url, change.item)
    labels = [c for c in change.classes if c.label or c.original]
    others = [c for c in change.classes if not (c.label or c.original)]
    rows = [("labels", _chips(labels))]
    if others:
        rows.append(("not there", _chips(others)))
    return card(image, change.item, terms(rows))


def _chips(classes: Sequence[AskedClass]) -> Html:
    return tag("ul", [_chip(each) for each in classes], class_="chips")


def _chip(of: AskedClass) -> Html:
    sign, words, style = _SIGNS[of.label, of.original]
    no, maybe, yes = of.counts
    said = [f"{n} {word}" for n, word in ((yes, "yes"), (maybe, "maybe"), (no, "no")) if n]
    score = "" if of.score != of.score else f"{decimal(of.score)}: "
    return tag(
        "li",
        tag("b", sign, aria_hidden="true") if sign else None,
        tag("span", f"{words}: ", class_="hidden"),
        named(of.name),
        tag("small", f"{score}{', '.join(said) or 'by gold'}"),
        class_=style,
    )


def _key() -> Html:
    entries = [_SIGNS[True, True], _SIGNS[True, False], _SIGNS[False, True]]
    return tag(
        "ul",
        [
            tag("li", tag("b", sign, aria_hidden="true"), " ", words, class_=style)
            for sign, words, style in entries
        ],
        tag("li", "probability: answers"),
        class_="chips key",
    )
