"""The page on which found duplicates are reviewed: pairs side by side, nearest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...formatting import count, decimal, plural
from ..kit.blocks import big_numbers, cards, notice, photo, terms
from ..kit.html import Html, tag
from ..kit.page import Section, top, write_page

_TWO = "display: grid; grid-template-columns: 1fr 1fr; gap: .4rem; align-items: start"


@dataclass(frozen=True)
class Side:
    """One image of a pair: its item, a ``data:`` URL of a small picture if it could be read, and its
    label if its source has labels."""

    item: str
    picture: str | None
    label: str | None


@dataclass(frozen=True)
class Duplicate:
    """A pair: the image to remove, the one it repeats, and how far apart they are."""

    number: int
    image: Side
    against: Side
    distance: float
    same_bytes: bool


def write_duplicates(
    path: Path, shown: Sequence[Duplicate], found: int, removed: int, how: str
) -> None:
    """Write the page.

    Args:
        shown: the nearest pairs, in order.
        found: pairs in all.
        removed: images on the exclude list.
        how: what the distances were measured with.
    """
    same = sum(pair.same_bytes for pair in shown)
    apart = sum(_differ(pair) for pair in shown)
    header = top(
        "dedup",
        f"The {plural(found, 'nearest pair')} of images",
        big_numbers(
            [
                ("Same file", count(same), "", "equal byte by byte, among those shown"),
                ("Other labels", count(apart), "", "pairs shown whose two labels differ"),
                ("To remove", count(removed), "", "images on the exclude list"),
            ]
        ),
    )
    body = cards([pair_card(pair) for pair in shown])
    lead = (
        f"The {plural(len(shown), 'nearest pair')}, nearest first. Distances are Euclidean between "
        f"{how}: 0 is the same, 1.41 unrelated. Look for the place where the pairs stop being the "
        "same picture: its number goes to --first, or its distance to --within."
    )
    sections = [Section("pairs", "Pairs", lead, body if shown else notice("Note", "No pairs."))]
    write_page(path, "Duplicates", header, sections)


def pair_card(pair: Duplicate) -> Html:
    """The two pictures side by side, with what is known of them."""
    facts = [("distance", "0, the same file" if pair.same_bytes else decimal(pair.distance, 3))]
    facts += [("image", pair.image.item), ("repeats", pair.against.item)]
    if pair.image.label is not None or pair.against.label is not None:
        labels = f"{pair.image.label or 'none'} / {pair.against.label or 'none'}"
        facts.append(("labels differ" if _differ(pair) else "labels", labels))
    return tag(
        "article",
        tag("div", _picture(pair.image), _picture(pair.against), style=_TWO),
        tag(
            "div",
            tag("p", f"{pair.number}.", class_="item name"),
            terms(facts, value="name"),
        ),
        class_="card",
        style="grid-template-columns: minmax(0, min(15rem, 55%)) minmax(0, 1fr)",
    )


def _picture(side: Side) -> Html:
    if side.picture is None:
        return tag("div", "no picture", class_="empty")
    return photo(side.picture, side.item)


def _differ(pair: Duplicate) -> bool:
    labels = (pair.image.label, pair.against.label)
    return None not in labels and labels[0] != labels[1]
