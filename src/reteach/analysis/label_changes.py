"""What a consensus did to the original labels, item by item and class by class."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from typing import Literal

from .outcome import Outcome

Kind = Literal["changed", "added", "emptied", "kept", "new"]


@dataclass(frozen=True)
class AskedClass:
    """A class that raters were asked about, or that is a label of the item without that."""

    name: str
    score: float
    """Probability by the raters' answers; NaN where nobody answered."""
    counts: tuple[int, int, int]
    """How many raters said no, maybe, yes."""
    label: bool
    """Whether the item has the label now."""
    original: bool
    """Whether it is the item's original label."""

    @property
    def dispute(self) -> float:
        """The share of pairs of answers that differ; 0 where there are fewer than two."""
        n = sum(self.counts)
        alike = sum(c * (c - 1) for c in self.counts)
        return 1 - alike / (n * (n - 1)) if n > 1 else 0.0


@dataclass(frozen=True)
class ItemChange:
    """A rated item that is decided.

    *changed*: another label stands in place of the original one; *added*: the original label stays, with
    others; *emptied*: the original label went, and none is left; *kept*; *new*: the item had no label.
    """

    item: str
    kind: Kind
    classes: tuple[AskedClass, ...]
    """The likeliest first."""

    @property
    def surest(self) -> float:
        """How probable what happened is: of the likeliest new label, or that the original one is not
        there."""
        if self.kind == "emptied":
            gone = [1 - c.score for c in self.classes if c.original]
            return gone[0] if gone else float("nan")
        fresh = [c.score for c in self.classes if c.label and not c.original]
        return max(fresh, default=float("nan"))


@dataclass(frozen=True)
class ClassChange:
    """One class among the decided items."""

    name: str
    original: int
    removed: int
    """Items that lost it as their original label."""
    added: int
    """Items that have it now, and had another original label or none."""

    @property
    def now(self) -> int:
        """Items that have the label."""
        return self.original - self.removed + self.added


def item_changes(outcome: Outcome) -> list[ItemChange]:
    """All rated items that are decided, in their order."""
    ratings = outcome.sources.ratings
    labels = dict(zip(outcome.items, pairwise(outcome.labels.starts.tolist()), strict=True))
    counts = ratings.counts().tolist()
    undecided = set(outcome.pending)
    asked: dict[int, list[int]] = {}
    for pair, item in enumerate(ratings.pair_item.tolist()):
        asked.setdefault(item, []).append(pair)
    out = []
    for item, pairs in asked.items():
        name, original = ratings.items[item], int(ratings.original[item])
        if name in undecided or name not in labels:
            continue
        start, end = labels[name]
        now = set(outcome.labels.columns[start:end].tolist())
        known = {
            int(ratings.pair_class[pair]): (float(outcome.found.score[pair]), tuple(counts[pair]))
            for pair in pairs
        }
        every = known | {c: (float("nan"), (0, 0, 0)) for c in now - known.keys()}
        classes = [
            AskedClass(ratings.classes[c], score, (n[0], n[1], n[2]), c in now, c == original)
            for c, (score, n) in every.items()
        ]
        classes.sort(key=lambda c: -2.0 if isnan(c.score) else -c.score)  # by gold alone: first
        out.append(ItemChange(name, _kind(original, now), tuple(classes)))
    return out


def class_changes(outcome: Outcome, changes: list[ItemChange]) -> list[ClassChange]:
    """The classes of which an item lost or won a label, those that changed most first."""
    ratings = outcome.sources.ratings
    row = {name: item for item, name in enumerate(ratings.items)}
    original: dict[str, int] = {}
    removed: dict[str, int] = {}
    added: dict[str, int] = {}
    for change in changes:
        label = int(ratings.original[row[change.item]])
        first = ratings.classes[label] if label >= 0 else None
        has = {c.name for c in change.classes if c.label}
        if first is not None:
            original[first] = original.get(first, 0) + 1
            removed[first] = removed.get(first, 0) + (first not in has)
        for name in has - {first}:
            added[name] = added.get(name, 0) + 1
    found = [
        ClassChange(name, original.get(name, 0), removed.get(name, 0), added.get(name, 0))
        for name in ratings.classes
    ]
    return sorted(
        (each for each in found if each.removed or each.added),
        key=lambda each: -(each.removed + each.added),
    )


def most_disputed(changes: list[ItemChange]) -> list[tuple[float, ItemChange]]:
    """Items on which raters differ, by their most disputed class; of as much dispute, those with more
    answers."""
    found = [
        (max(change.classes, key=lambda c: (c.dispute, sum(c.counts))), change)
        for change in changes
    ]
    ranked = sorted(found, key=lambda pair: (-pair[0].dispute, -sum(pair[0].counts)))
    return [(worst.dispute, change) for worst, change in ranked if worst.dispute > 0]


def _kind(original: int, now: set[int]) -> Kind:
    if original < 0:
        return "new"
    if original in now:
        return "added" if len(now) > 1 else "kept"
    return "changed" if now else "emptied"
