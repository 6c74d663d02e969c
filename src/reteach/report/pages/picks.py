"""The page of a selection: images at a few ranks of each class (Figure 2 of Yalniz et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...formatting import count, decimal, plural
from ..kit.blocks import columns, head, named, row, table
from ..kit.html import Html, tag
from ..kit.page import Section, top, write_page


@dataclass(frozen=True)
class Pick:
    """An image at one rank of a class; ``picture`` is a small ``data:`` URL, or why there is none."""

    item: str
    score: float
    picture: str


def write_picks(
    path: Path,
    ranks: Sequence[int],
    shown: Sequence[tuple[str, int, Sequence[Pick | None]]],
    classes: int,
) -> None:
    """Write the page.

    Args:
        ranks: the columns.
        shown: class name, its number of picks, and the pick at each of ``ranks``, or None where the
            class has fewer.
        classes: how many classes there are in all.
    """
    heads = columns("Class", "Picks", *(head(f"rank {count(r)}", text=True) for r in ranks))
    rows = [
        row(named(name), count(size), *(_cell(pick) for pick in picks))
        for name, size, picks in shown
    ]
    header = top(
        "select",
        f"Images picked for {plural(classes, 'class', 'classes')}",
        tag(
            "p",
            "The first images of a class should be simple and clean; further down they become less "
            "obvious, and somewhere they are wrong: that is where K should end.",
            class_="description",
        ),
    )
    lead = (
        "Every class."
        if len(shown) == classes
        else f"{plural(len(shown), 'class', 'classes')} out of {count(classes)}."
    )
    body = table(heads, [rows], "Images at a few ranks of each class", class_="pictures")
    sections = [Section("ranks", "Images by rank", lead, body)]
    write_page(path, "Picks", header, sections)


def _cell(pick: Pick | None) -> Html:
    if pick is None:
        return tag("td", "–", class_="n")
    image = (
        tag("img", src=pick.picture, alt=f"image {pick.item}", title=pick.item, loading="lazy",
            style="display: block; width: 7rem; border-radius: 3px")
        if pick.picture.startswith("data:image/")
        else tag("div", pick.picture, title=pick.item)
    )  # fmt: skip
    return tag("td", image, tag("small", decimal(pick.score, 3)))
