"""The page of ``reteach advise``: what was measured, what to try first, and what that stands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ...analysis.advice import doubt
from ...analysis.facts import Facts, ShareRange
from ...duplicates.thumbnails import ALIKE
from ...formatting import count, decimal, percent, plural
from ..kit.blocks import big_numbers, card, cards, columns, head, notice, photo, row, table, terms
from ..kit.html import Child, Html, join, tag
from ..kit.page import Section, top, write_page
from .duplicates import Duplicate, pair_card

Doubted = tuple[str, str, str, str]
"""An image: data URL, item, given label, model's first choice."""


OddImages = tuple[str, str, int, Sequence[Doubted]]
"""A kind of odd images: its name, its rule, how many there are, and some of them."""


@final
@dataclass(frozen=True)
class AdvicePiece:
    """A recommendation: its command, those after it, the finding it stands on and where that is in docs/."""

    title: str
    command: str
    finding: str
    page: str
    section: str
    then: tuple[str, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class Page:
    """Everything on the page.

    Args:
        doubted: images whose labels are doubted most; mixed: of the two classes that are confused most.
        several: images that speak for several classes each, where that is asked.
        issues: each kind of odd images; none: the pixels were not looked at.
        within: the nearest pairs of images; across: those with validation images, if there are such.
        features: commands that those need first.
        how: what judged the labels, its steps per fold, the folds.
    """

    facts: Facts
    pieces: Sequence[AdvicePiece]
    plain: str
    features: Sequence[str]
    missing: Sequence[str]
    doubted: Sequence[Doubted]
    mixed: Sequence[Doubted]
    several: Sequence[Doubted]
    within: Sequence[Duplicate]
    across: Sequence[Duplicate] | None
    issues: Sequence[OddImages]
    how: tuple[str, int, int]


def write_advice(path: Path, page: Page) -> None:
    """Write the page."""
    title = page.pieces[0].title if page.pieces else "Plain training is enough to begin with"
    sections = [
        _advice(page),
        _measured(page),
        _confused(page),
        _several(page),
        _issues(page),
        _copies(page),
        _doubted(page),
        _missing(page),
    ]
    write_page(path, f"{title} — reteach", _header(title, page), sections)


def _header(title: str, page: Page) -> Html:
    f = page.facts
    numbers: list[tuple[Child, str, str, Child]] = [
        ("Images", count(f.images), "", plural(f.classes, "class", "classes"))
    ]
    if f.noise is not None and not f.several:
        numbers.append(("Wrong labels", _span(f.noise), "%", "a range, not a number"))
    if f.per_image is not None:
        held = "classes that an image holds"
        numbers.append(("Labels per image", decimal(f.per_image.value), "", held))
    elif f.told is not False:
        numbers.append(("Labels per image", decimal(None), "", "the scores cannot tell"))
    if f.repeated is None:
        numbers.append(("Copies", "–", "", "not looked for in features"))
    else:
        found = f.repeated + f.across + (f.alike or 0) + f.alike_across
        numbers.append(("Copies", count(found), "", "pairs, within and across the sets"))
    return top(
        "advise",
        title,
        big_numbers(numbers),
    )


def _advice(page: Page) -> Section:
    pieces = [
        tag(
            "li",
            tag("h3", f"{number}. {piece.title}"),
            *map(_code, (piece.command, *piece.then)),
            tag("p", piece.finding),
            tag(
                "p",
                f"Measured: docs/{piece.page}{', ' + piece.section if piece.section else ''}",
                class_="note",
            ),
        )
        for number, piece in enumerate(page.pieces, 1)
    ]
    note = doubt(page.facts)
    body = join(
        notice("Look first", note) if note else None,
        join(tag("h3", "Features, once"), *(_code(text) for text in page.features))
        if page.features
        else None,
        tag("ol", pieces) if pieces else notice("Nothing special", "No rule speaks for more."),
        tag("h3", "What it all has to beat: plain training"),
        _code(page.plain),
    )
    lead = (
        "In this order, each with the result it stands on. That was measured on other, small data: "
    )
    return Section("advice", "What to try first", lead + "compare before you believe it.", body)


def _code(text: str) -> Html:
    """A command that wraps between its words; a flag is not torn at its hyphens."""
    words = [
        tag("span", word, style="white-space: nowrap") if word.startswith("--") else word
        for word in text.split(" ")
    ]
    spaced = [part for word in words for part in (" ", word)][1:]
    return tag("pre", tag("code", spaced), style="white-space: pre-wrap; overflow-wrap: anywhere")


def _measured(page: Page) -> Section:
    f, (judge, steps, folds) = page.facts, page.how
    held = f"{folds} folds, {judge}, {steps:,} steps each"
    gap = None
    if f.fitted is not None and f.accuracy is not None:
        gap = f.fitted - f.accuracy.value
    rows = [
        ("Commonest and rarest class", f"{f.largest:,} and {f.smallest:,}", "labels"),
        ("Equally frequent classes", decimal(f.effective, 1), "exp of the entropy of the classes"),
        (
            "Pairs of equal files",
            count(f.repeated),
            f"byte by byte; {f.conflicting} with other labels",
        ),
        (
            "Pairs that look alike",
            count(f.alike),
            f"grey thumbnails within {ALIKE}; {f.alike_conflicting} with other labels",
        ),
        (
            "Weights per image",
            decimal(f.weights / f.images, 1),
            f"{f.model}, {f.weights:,} weights",
        ),
    ]
    if page.across is not None:
        kinds = f"{f.across} equal files, {f.alike_across} that look alike"
        rows.append(("Validation images among them", count(f.across + f.alike_across), kinds))
    if f.accuracy is not None:
        rows += [
            ("Held-out labels confirmed, %", _span(f.accuracy), f"{held}; 95% interval"),
            ("Learned labels fitted, %", percent(f.fitted), "the same networks"),
            ("Memorised, points", percent(gap), "fitted less confirmed"),
        ]
    if f.noise is not None and not f.several:
        how = "joint and lapse of a head on features" if f.features else "anchors, for a weak model"
        rows.append(("Wrong labels, %", _span(f.noise), how))
    if f.per_image is not None:
        how = "of the table" if f.sets else "calibrated held-out scores, profile likelihood"
        low, high = decimal(f.per_image.low), decimal(f.per_image.high)
        rows.append(("Labels per image", f"{low} to {high}", how))
    made = [row(name, value, tag("td", how)) for name, value, how in rows]
    heads = columns("fact", "value", head("how", text=True))
    lead = f"The view of {judge}: a better model would doubt fewer labels." if f.accuracy else ""
    return Section("facts", "What was measured", lead, table(heads, [made], "Facts"))


def _span(found: ShareRange) -> str:
    return f"{percent(found.low, 0)}–{percent(found.high, 0)}"


def _confused(page: Page) -> Section | None:
    found = page.facts.confused
    if not found or page.facts.several:
        return None
    rows = [
        row(
            f"{pair.one} / {pair.other}",
            percent(pair.forth),
            percent(pair.back),
            percent(pair.share),
        )
        for pair in found
    ]
    heads = columns("one / other", "one is other, %", "other is one, %", "of both, %")
    lead = (
        "Shares of the labels whose image the held-out networks confidently take for the other class "
        "(confident joint). Classes that look alike, or labels that mix them up: look. Nothing is advised on "
        "this."
    )
    pictures = tag("div", _cards(page.mixed), style="margin-top: 1.75rem") if page.mixed else None
    body = join(table(heads, [rows], "Confused classes"), pictures)
    return Section("confused", "Classes that are confused", lead, body)


def _copies(page: Page) -> Section | None:
    if not page.within and not page.across:
        return None
    lead = (
        "The nearest pairs: equal files, or grey thumbnails at a small distance. Crops and mirror images are "
        "not found so; dedup with a good network may find them."
    )
    parts = {"Of validation images": page.across or (), "Within the images": page.within}
    body = join(
        *(
            join(tag("h3", title), cards([pair_card(pair) for pair in pairs]))
            for title, pairs in parts.items()
            if pairs
        )
    )
    return Section("copies", "Copies", lead, body)


def _several(page: Page) -> Section | None:
    if not page.several:
        return None
    lead = (
        "The held-out networks confirm these labels and see a second class as well. If it is there in most "
        "of them, images hold several of the classes: give --multi-label yes."
    )
    return Section("several", "One class each, or several?", lead, _cards(page.several))


def _issues(page: Page) -> Section | None:
    """Odd images beside the odd labels."""
    if not page.issues:
        return None
    f = page.facts
    rows = [
        row(name, count(images), percent(images / f.images), tag("td", rule))
        for name, rule, images, _ in page.issues
    ]
    alike = (f.repeated or 0) + (f.alike or 0)
    rule = f"pairs of equal files, or grey thumbnails within {ALIKE}"
    rows.append(row("near copies", count(alike), percent(alike / f.images), tag("td", rule)))
    heads = columns("issue", "images", "%", head("rule", text=True))
    shown = [join(tag("h3", name), _cards(some)) for name, _, images, some in page.issues if images]
    lead = (
        "Of all labelled images, by their pixels alone. A rule is a hint: look before you remove."
    )
    return Section("images", "Odd images", lead, join(table(heads, [rows], "Odd images"), *shown))


def _doubted(page: Page) -> Section | None:
    if not page.doubted:
        return None
    lead = (
        "The labels that held-out networks doubt most. Numbers cannot tell a wrong label from a second "
        "object or a hard image; you can."
    )
    return Section("look", "Look for yourself", lead, _cards(page.doubted))


def _cards(pictures: Sequence[Doubted]) -> Html:
    return cards(
        [
            card(photo(url, item), item, terms(_names(given, choice), value="name"))
            for url, item, given, choice in pictures
        ]
    )


def _names(given: str, choice: str) -> list[tuple[Child, Child]]:
    """What an image is called, by its label and by the model if that was asked."""
    return [("given", given), *([("model", choice)] if choice else [])]


def _missing(page: Page) -> Section | None:
    if not page.missing:
        return None
    body = tag("ul", [tag("li", text) for text in page.missing], class_="prose")
    return Section("unknown", "What is not known", "Here nothing is advised.", body)
