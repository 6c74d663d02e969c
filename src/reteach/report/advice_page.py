"""The page of ``reteach advise``: what was measured, what to try first, and what that stands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from .. import __version__
from ..analysis.advice import Facts, Range
from ..files import atomic_write
from .blocks import big_numbers, head, notice, row, table
from .formats import count, decimal, percent, plural
from .html import Child, Html, join, tag
from .page import Section, document, footer


@final
@dataclass(frozen=True)
class Piece:
    """A recommendation: its command, the finding it stands on and where that is in docs/."""

    title: str
    command: str
    finding: str
    page: str
    section: str


@final
@dataclass(frozen=True, eq=False)
class Page:
    """Everything on the page.

    Args:
        pictures: (data URL, item, given label, model's first choice) of doubted labels.
        how: the small network, its steps per fold, the folds.
    """

    facts: Facts
    pieces: Sequence[Piece]
    plain: str
    missing: Sequence[str]
    pictures: Sequence[tuple[str, str, str, str]]
    how: tuple[str, int, int]


def write_advice(path: Path, page: Page) -> None:
    """Write the page."""
    title = page.pieces[0].title if page.pieces else "Plain training is enough to begin with"
    sections = [_advice(page), _measured(page), _pictures(page), _missing(page)]
    body = document(f"{title} — reteach", _header(title, page), sections, footer(__version__))
    atomic_write(path, body)


def _header(title: str, page: Page) -> Html:
    f = page.facts
    numbers: list[tuple[Child, str, str, Child]] = [
        ("Images", count(f.images), "", plural(f.classes, "class", "classes"))
    ]
    if f.noise is not None and not f.several:
        numbers.append(("Wrong labels", _span(f.noise), "%", "a range, not a number"))
    held = "classes that an image holds" if f.per_image else "the scores cannot tell"
    numbers.append(
        ("Labels per image", decimal(f.per_image.value if f.per_image else None), "", held)
    )
    numbers.append(("Equal files", count(f.repeated + f.across), "", "within and across the sets"))
    return join(
        tag("p", "reteach advise", class_="eyebrow"),
        tag("h1", title),
        big_numbers(numbers),
    )


def _advice(page: Page) -> Section:
    pieces = [
        tag(
            "li",
            tag("h3", f"{number}. {piece.title}"),
            _code(piece.command),
            tag("p", piece.finding),
            tag(
                "p",
                f"Measured: docs/{piece.page}{', ' + piece.section if piece.section else ''}",
                class_="note",
            ),
        )
        for number, piece in enumerate(page.pieces, 1)
    ]
    body = join(
        tag("ol", pieces) if pieces else notice("Nothing special", "No rule speaks for more."),
        tag("h3", "What it all has to beat: plain training"),
        _code(page.plain),
    )
    lead = (
        "In this order, each with the result it stands on. That was measured on other, small data: "
    )
    return Section("advice", "What to try first", lead + "compare before you believe it.", body)


def _code(text: str) -> Html:
    return tag("pre", tag("code", text), style="white-space: pre-wrap; overflow-wrap: anywhere")


def _measured(page: Page) -> Section:
    f, (small, steps, folds) = page.facts, page.how
    held = f"{folds} folds, {small}, {steps:,} steps each"
    gap = None
    if f.fitted is not None and f.accuracy is not None:
        gap = f.fitted - f.accuracy.value
    rows = [
        ("Commonest and rarest class", f"{f.largest:,} and {f.smallest:,}", "labels"),
        ("Equally frequent classes", decimal(f.effective, 1), "exp of the entropy of the classes"),
        ("Equal files", count(f.repeated), f"byte by byte; {f.conflicting} with other labels"),
        ("Validation images among them", count(f.across), "byte by byte"),
        (
            "Weights per image",
            decimal(f.weights / f.images, 1),
            f"{f.model}, {f.weights:,} weights",
        ),
    ]
    if f.accuracy is not None:
        rows += [
            ("Held-out labels confirmed, %", _span(f.accuracy), f"{held}; 95% interval"),
            ("Learned labels fitted, %", percent(f.fitted), "the same networks"),
            ("Memorised, points", percent(gap), "fitted less confirmed"),
        ]
    if f.noise is not None and not f.several:
        rows.append(("Wrong labels, %", _span(f.noise), "anchors, allowing for a weak model"))
    if f.per_image is not None:
        how = "of the table" if f.sets else "calibrated held-out scores, profile likelihood"
        low, high = decimal(f.per_image.low), decimal(f.per_image.high)
        rows.append(("Labels per image", f"{low} to {high}", how))
    made = [row(name, value, tag("td", how)) for name, value, how in rows]
    heads = [head("fact", text=True), head("value"), head("how", text=True)]
    lead = "A small network's view: a better one would find fewer wrong labels."
    return Section("facts", "What was measured", lead, table(heads, [made], "Facts"))


def _span(found: Range) -> str:
    return f"{percent(found.low, 0)}–{percent(found.high, 0)}"


def _pictures(page: Page) -> Section | None:
    if not page.pictures:
        return None
    cards = [
        tag(
            "article",
            tag("img", src=url, alt=f"image {item}", loading="lazy"),
            tag(
                "div",
                tag("p", item, class_="item name", title=item),
                tag(
                    "dl",
                    tag("div", tag("dt", "given"), tag("dd", given, class_="name")),
                    tag("div", tag("dt", "model"), tag("dd", choice, class_="name")),
                ),
            ),
            class_="card",
        )
        for url, item, given, choice in page.pictures
    ]
    lead = (
        "The labels that held-out networks doubt most. Numbers cannot tell a wrong label from a second "
        "object or a hard image; you can."
    )
    return Section("look", "Look for yourself", lead, tag("div", cards, class_="cards"))


def _missing(page: Page) -> Section | None:
    if not page.missing:
        return None
    body = tag("ul", [tag("li", text) for text in page.missing], class_="prose")
    return Section("unknown", "What is not known", "Here nothing is advised.", body)
