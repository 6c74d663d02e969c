"""Example images with the given label, each model's label set and the truth side by side.

MILe's Figure 2. What is right, additional or missed is told by a sign and a frame, not by colour alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ... import formatting
from ...records.comparisons import ComparedExample
from ...records.runs import Example, Prediction
from ..kit.blocks import card, cards, named
from ..kit.html import Html, join, tag

SHOWN, CHIPS = 8, 10
_PICTURE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+={0,2}")
_SIGNS = {
    "right": ("✓", "right"),
    "extra": ("+", "additional"),
    "missed": ("–", "missed"),
}


def gallery(examples: Sequence[ComparedExample]) -> Html | None:
    """Cards of the examples; None without any."""
    if not examples:
        return None
    return join(_key(), cards([_card(e) for e in examples], SHOWN, "more images"))


def single_truth(examples: Sequence[ComparedExample]) -> bool:
    """Whether the truth is one label per image, so that an additional label need not be wrong."""
    return bool(examples) and all(e.truth is not None and len(e.truth) <= 1 for e in examples)


def merged(found: Mapping[str, Sequence[Example]]) -> list[ComparedExample]:
    """Examples of several predictors as one list, an item's predictions side by side."""
    out: dict[str, ComparedExample] = {}
    for name, examples in found.items():
        for e in examples:
            known = out.setdefault(e.item, ComparedExample(e.item, e.image, e.given, {}, e.truth))
            known.predicted[name] = e.predicted
    return list(out.values())


def _card(example: ComparedExample) -> Html:
    item, truth = example.item, example.truth
    rows = [("given", [_plain(name, truth) for name in example.given])]
    for model, predicted in example.predicted.items():
        rows.append((model, _predicted(predicted, truth)))
    if truth is not None:
        rows.append(("truth", [tag("li", named(t)) for t in truth]))
    return card(_picture(example.image, item), item, _rows(rows))


def _rows(rows: Sequence[tuple[str, list[Html]]]) -> Html:
    return tag(
        "dl",
        [
            tag(
                "div",
                tag("dt", name, class_="name"),
                tag("dd", tag("ul", _cut(chips), class_="chips") if chips else "none"),
            )
            for name, chips in rows
        ],
    )


def _cut(chips: list[Html]) -> list[Html]:
    if len(chips) <= CHIPS:
        return chips
    return [*chips[:CHIPS], tag("li", f"and {len(chips) - CHIPS} more", class_="rest")]


def _predicted(pairs: Sequence[Prediction], truth: Sequence[str] | None) -> list[Html]:
    if truth is None:
        return [_chip(name, score, None) for name, score in pairs]
    chips = [_chip(name, score, "right" if name in truth else "extra") for name, score in pairs]
    seen = {name for name, _ in pairs}
    return chips + [_chip(name, None, "missed") for name in truth if name not in seen]


def _plain(name: str, truth: Sequence[str] | None) -> Html:
    wrong = truth is not None and name not in truth
    remark = tag("small", "not in the truth") if wrong else None
    return tag("li", named(name), remark)


def _chip(name: str, score: float | None, kind: str | None) -> Html:
    sign, words = _SIGNS[kind] if kind else ("", "")
    return tag(
        "li",
        tag("b", sign, aria_hidden="true") if sign else None,
        tag("span", words + ": ", class_="hidden") if words else None,
        named(name),
        tag("small", formatting.decimal(score)) if score is not None else None,
        class_=kind,
    )


def _picture(url: str, item: str) -> Html:
    """The image, if it is one and lies in the page itself."""
    if _PICTURE.fullmatch(url):
        return tag("img", src=url, alt=f"image {item}")
    return tag("div", "no picture", class_="empty")


def _key() -> Html:
    words = {
        "right": "predicted and true",
        "extra": "additional: predicted, not in the truth",
        "missed": "missed: true, not predicted",
    }
    return tag(
        "ul",
        [
            tag("li", tag("b", _SIGNS[kind][0], aria_hidden="true"), " ", text, class_=kind)
            for kind, text in words.items()
        ],
        class_="chips key",
    )
