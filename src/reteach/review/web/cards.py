"""An image as a card of the grid: what is on it, and what a screen reader says of it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import final

from ...formatting import whole_percent
from ..session import ReviewSession
from ..values import ReviewItem

OFFERED = 5
"""Classes that an image's card offers."""
LIKELY = 0.5
UNLIKELY = 0.1
"""Below, a label of a set is marked."""
"""From here on a class that a label set lacks is shown on the card."""
VERDICT_WORDS = {"right": "right", "unclear": "unclear", "unusable": "unusable"}


@final
@dataclass(frozen=True)
class Card:
    """What a card shows of an item.

    Args:
        item: as the session has it.
        sets: whether items have label sets.
        column: class -> its number.
        alone: the class of the grid, which the card need not repeat.
    """

    item: ReviewItem
    sets: bool
    column: dict[str, int]
    alone: str | None = None

    @property
    def row(self) -> int:
        """The number of the image."""
        return self.item.row

    @cached_property
    def stamp(self) -> str:
        """Another one when what people said has changed."""
        item = self.item
        said = repr((item.decision, item.current, item.tags, item.suggestions[:1]))
        return f"{zlib.crc32(said.encode()):08x}"

    @property
    def offers(self) -> str:
        """Class numbers and percent, most likely first, then those of the given labels: ``5:93 3:4``."""
        chances = dict(self.item.suggestions[:OFFERED])
        chances |= dict(zip(self.item.given, self.item.likely, strict=True))
        return " ".join(f"{self.column[name]}:{100 * p:.0f}" for name, p in chances.items())

    @property
    def odd(self) -> frozenset[str]:
        """Of a label set, those that the model does not find."""
        given = zip(self.item.given, self.item.likely, strict=True)
        return frozenset(name for name, p in given if self.sets and p < UNLIKELY)

    @property
    def now(self) -> str:
        """Numbers of the classes it has."""
        return " ".join(str(self.column[name]) for name in self.item.current)

    @property
    def guess(self) -> tuple[str, str] | None:
        """The class that the model finds in the image and the labels do not have, and how likely it is."""
        for name, p in self.item.suggestions:
            if name not in self.item.current:
                return (name, whole_percent(p)) if p >= LIKELY or not self.sets else None
            if not self.sets:
                return None
        return None

    @property
    def shown(self) -> tuple[str, ...]:
        """The labels on the card."""
        if self.item.status == "open" and self.item.current == (self.alone,):
            return ()
        return self.item.current

    @property
    def doubt(self) -> int:
        """0 … 10, for the length of the bar."""
        return round(10 * self.item.doubt)

    @property
    def badge(self) -> str:
        """The verdict, in a word or two; empty: open."""
        item = self.item
        if item.status == "open":
            return ""
        if item.status == "changed":
            return ", ".join(item.current) or "no label"
        return VERDICT_WORDS[item.status]

    @property
    def words(self) -> str:
        """All of it, for a screen reader."""
        item = self.item
        parts = [item.name, f"labelled {', '.join(item.given) or 'nothing'}"]
        if item.decision is not None:
            said = "changed to " + self.badge if item.status == "changed" else self.badge
            parts.append(f"{said}, said {item.decision.reviewer}")
        elif self.guess is not None:
            parts.append(f"perhaps {self.guess[0]}, {self.guess[1]}")
        parts.append(f"doubt {whole_percent(item.doubt)}")
        if item.tags:
            parts.append(f"tags {', '.join(item.tags)}")
        return "; ".join(parts)


def cards_of(session: ReviewSession, rows: list[int], alone: str | None = None) -> list[Card]:
    """Cards of some rows."""
    column = columns_of(session)
    sets = session.kind == "multi"
    return [Card(item, sets, column, alone) for item in session.items(rows)]


def columns_of(session: ReviewSession) -> dict[str, int]:
    """Class -> its number."""
    return {name: c for c, name in enumerate(session.classes)}


def when(at: float) -> str:
    """A time of day, with the date, as people here write it down."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")
