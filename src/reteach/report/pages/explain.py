"""The page of ``reteach explain``: each image with what every model that knows the class looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ... import formatting
from ..kit.blocks import described, named, photo
from ..kit.html import Html, tag
from ..kit.page import Section, top, write_page

_MAPS = {
    "auto": "Where a network has a token per class, its attention; else the places that speak for the "
    "class, which behind average pooling is the class activation map.",
    "gradient": "The places that speak for the class: gradient times features.",
    "grad-cam": "Grad-CAM: the features, weighed by the mean gradient.",
    "attention": "The attention of the class's token.",
}


@final
@dataclass(frozen=True)
class Look:
    """What one model sees in an image.

    Args:
        title: the model.
        classes: those it is for, if not for all.
        score: that it gives to the class.
        picture: the map over the image, a data URL.
    """

    title: str
    classes: tuple[str, ...]
    score: float
    picture: str


@final
@dataclass(frozen=True)
class Shown:
    """An image, its labels if they are known, and the looks at it."""

    item: str
    picture: str
    labels: tuple[str, ...]
    looks: tuple[Look, ...]


@final
@dataclass(frozen=True)
class Explained:
    """A class and the images shown for it.

    Args:
        of: where nobody said which images have the class: how many the surest were chosen from.
    """

    name: str
    shown: Sequence[Shown]
    of: int | None = None


def write_explained(path: Path, explained: Sequence[Explained], run: str, kind: str) -> None:
    """Write the page; ``kind`` of map is one of those of :mod:`reteach.analysis.cam`."""
    title = f"Where {run} looks"
    header = top(
        "explain",
        title,
        described(_MAPS[kind]),
        tag(
            "p",
            "Red speaks most for the class, blue says nothing. Each map has its own scale: the number "
            "beside it says how sure that model is that the class is there. Without colour: what was cut off "
            "before the network saw the photo.",
            class_="description",
        ),
    )
    sections = [
        Section(f"class-{number}", one.name, _lead(one), _images(one))
        for number, one in enumerate(explained, 1)
    ]
    write_page(path, f"{title} — reteach", header, sections)


def _lead(one: Explained) -> str:
    if not one.shown:
        return "No image has this class."
    images = formatting.plural(len(one.shown), "image")
    if one.of is None:
        return f"{images} of the class, from the surest to the least sure."
    return (
        f"Of {formatting.plural(one.of, 'image')} the {len(one.shown)} that the model is surest of. Nobody "
        "said whether they show the class: they need not. Give labels to see images that do."
    )


def _images(one: Explained) -> Html:
    return tag("div", [_row(shown, one.name) for shown in one.shown], class_="looks")


def _row(shown: Shown, cls: str) -> Html:
    labels = [
        tag("li", tag("b", "→") if label == cls else None, named(label),
            class_="right" if label == cls else None)
        for label in shown.labels
    ]  # fmt: skip
    picture = tag(
        "figure",
        photo(shown.picture, shown.item),
        tag("figcaption", tag("b", shown.item, class_="name", title=shown.item)),
        tag("ul", labels, class_="chips") if labels else None,
    )
    return tag("article", picture, [_look(look, cls) for look in shown.looks])


def _look(look: Look, cls: str) -> Html:
    others = [name for name in look.classes if name != cls]
    beside = None
    if look.classes:
        few = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        beside = tag(
            "p", f"with {few}" if others else "alone", class_="beside", title=", ".join(others)
        )
    return tag(
        "figure",
        tag("img", src=look.picture, alt=f"what {look.title} looks at", loading="lazy"),
        tag("figcaption", tag("b", look.title), tag("span", formatting.decimal(look.score))),
        beside,
    )
