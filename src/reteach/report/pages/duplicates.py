"""The page on which found duplicates are reviewed: duplicates first, then what is only near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ...formatting import count, decimal, plural
from ..kit.blocks import big_numbers, cards, notice, photo, terms
from ..kit.html import Html, tag
from ..kit.page import Section, top, write_page

_UNJUDGED = "without --within no distance says which pictures are copies"
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


@final
@dataclass(frozen=True)
class Duplicates:
    """Everything on the page.

    Args:
        shown: the nearest pairs, in order; of all perhaps not all.
        equal_files: pairs of files with the same bytes.
        copies: pairs of pictures within ``within``; the files that are equal are not among them.
        neighbours: the other pairs: near, but not known to be the same picture.
        within: up to which distance a picture is taken for a copy; None: nobody said.
        removed: images on the exclude list.
        how: what the distances were measured with; "": only equal files were looked for.
    """

    shown: Sequence[Duplicate]
    equal_files: int
    copies: int
    neighbours: int
    within: float | None
    removed: int
    how: str

    @property
    def found(self) -> int:
        """Pairs that are duplicates."""
        return self.equal_files + self.copies


def write_duplicates(path: Path, of: Duplicates) -> None:
    """Write the page."""
    first = [pair for pair in of.shown if _same(pair, of.within)]
    others = [pair for pair in of.shown if not _same(pair, of.within)]
    sections = [_duplicates(of, first), _neighbours(of, others)]
    write_page(path, "Duplicates", _header(of, first), sections)


def _header(of: Duplicates, first: Sequence[Duplicate]) -> Html:
    copies = f"further pairs, at most {of.within:g} apart" if of.within is not None else _UNJUDGED
    return top(
        "dedup",
        f"{plural(of.found, 'pair')} of duplicates",
        big_numbers(
            [
                ("Same file", count(of.equal_files), "", "pairs that are equal byte by byte"),
                ("Copies", count(of.copies), "", copies if of.how else "not looked for"),
                ("Only neighbours", count(of.neighbours), "", "pairs that are near, no more"),
                ("Other labels", *_other_labels(first)),
                ("To remove", count(of.removed), "", "images on the exclude list"),
            ]
        ),
    )


def _other_labels(first: Sequence[Duplicate]) -> tuple[str, str, str]:
    """The number, its unit and what it counts: only of pairs whose labels are known can any be told."""
    known = [p for p in first if p.image.label is not None and p.against.label is not None]
    if first and not known:
        return ("–", "", "no labels are known of these images: name --labels")
    return (count(sum(map(_differ, known))), "", "duplicates shown whose two labels differ")


def _duplicates(of: Duplicates, pairs: Sequence[Duplicate]) -> Section:
    lead = "Equal files"
    if of.within is not None:
        lead += f", and pictures at most {of.within:g} apart, nearest first"
    lead += ". "
    lead += (
        f"Distances are Euclidean between {of.how}: 0 is the same, 1.41 unrelated."
        if of.how
        else "No others were looked for."
    )
    if len(pairs) < of.found:
        lead += f" The first {len(pairs):,} of {of.found:,}."
    return Section("pairs", "Duplicates", lead, _cards(pairs) if pairs else notice("Note", "None."))


def _neighbours(of: Duplicates, pairs: Sequence[Duplicate]) -> Section | None:
    if not of.neighbours:
        return None
    lead = f"{plural(of.neighbours, 'pair')} of pictures that are only each other's neighbours"
    if of.within is None:
        lead += f": {_UNJUDGED}, so that there may be copies among them"
    if len(pairs) < of.neighbours:
        lead += f". The {len(pairs):,} nearest are shown" if pairs else ". None is shown"
    lead += (
        ". Where the first of them are still the same picture, the number of the last such pair goes to "
        "--first, or its distance to --within."
    )
    return Section("neighbours", "Only neighbours", lead, _cards(pairs) if pairs else None)


def _cards(pairs: Sequence[Duplicate]) -> Html:
    return cards([pair_card(pair) for pair in pairs])


def _same(pair: Duplicate, within: float | None) -> bool:
    """Whether a pair is taken for one picture."""
    return pair.same_bytes or (within is not None and pair.distance <= within)


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
