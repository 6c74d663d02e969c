"""What raters answered: the value that flows from the rating store to the consensus.

A *pair* is the question "is this class in this image?"; each answer is *no*, *maybe* or *yes*, with
the numbers of the votes released with ReaL (Beyer et al., "Are we done with ImageNet?", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...item_index import ItemIndex

ANSWERS = ("no", "maybe", "yes")
NO, MAYBE, YES = 0, 1, 2

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Ruling(NamedTuple):
    """Who decided a question that raters disputed, and when (ISO 8601, UTC)."""

    by: str
    at: str


@dataclass(frozen=True, eq=False)
class Ratings:
    """R answers of W raters on P pairs of N items and C classes.

    Items without any pair belong to the set too: nobody was asked about them (all models agreed
    with the original label), so they keep that label.

    Repeated answers of one rater on one pair are all kept; who stores ratings decides which counts.
    """

    items: list[str]
    """(N,) item names."""
    classes: list[str]
    """(C,) class names."""
    pair_item: Indices
    """(P,) index into ``items``."""
    pair_class: Indices
    """(P,) index into ``classes``."""
    raters: list[str]
    """(W,) rater names."""
    rater: Indices
    """(R,) index into ``raters``."""
    pair: Indices
    """(R,) index into the pairs."""
    answer: NDArray[np.int8]
    """(R,) one of ``NO``, ``MAYBE``, ``YES``."""
    gold: Floats
    """(P,) share of the experts who said *yes* (so 0 or 1 for one expert); NaN where not golden."""
    original: Indices
    """(N,) index of the item's original class, -1 where there is none."""
    ruled: dict[int, Ruling] = field(default_factory=dict)
    """Pair -> ruling, where the gold is the owner's word on a pair that was looked at for its answers. Such
    gold is in the labels, but does not tell how good raters are: disputed pairs are harder than others."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for name in ("pair_item", "pair_class", "rater", "pair", "original"):
            set_(self, name, np.asarray(getattr(self, name), np.int64))
        set_(self, "answer", np.asarray(self.answer, np.int8))
        set_(self, "gold", np.asarray(self.gold, np.float64))
        pairs, answers = len(self.pair_item), len(self.rater)
        _check("pair_item", self.pair_item, pairs, len(self.items))
        _check("pair_class", self.pair_class, pairs, len(self.classes))
        _check("rater", self.rater, answers, len(self.raters))
        _check("pair", self.pair, answers, pairs)
        _check("answer", self.answer, answers, len(ANSWERS))
        _check("original", self.original, len(self.items), len(self.classes), least=-1)
        if len(self.gold) != pairs:
            raise ValueError(f"gold has {len(self.gold)} entries for {pairs} pairs")

    @property
    def golden(self) -> NDArray[np.bool_]:
        """(P,) where experts' answers are known."""
        return ~np.isnan(self.gold)

    def without_rulings(self) -> Ratings:
        """The same ratings, golden only where the gold was known before anybody answered."""
        if not self.ruled:
            return self
        gold = self.gold.copy()
        gold[list(self.ruled)] = np.nan
        return replace(self, gold=gold, ruled={})

    def pair_original(self) -> NDArray[np.bool_]:
        """(P,) where the asked class is the item's original one."""
        return np.asarray(self.original[self.pair_item] == self.pair_class)

    def counts(self) -> Indices:
        """(P, 3) how many raters said no, maybe, yes."""
        key = self.pair * len(ANSWERS) + self.answer
        return np.bincount(key, minlength=len(self.pair_item) * 3).reshape(-1, 3)

    def answered(self) -> Ratings:
        """The same ratings without the pairs that nobody has answered yet."""
        return self.take(np.bincount(self.pair, minlength=len(self.pair_item)) > 0)

    def in_order(self) -> Ratings:
        """The same ratings, raters by name and answers by pair and rater: random draws, and sums of floats,
        are then the same for whatever file the answers came from. Raters without answers are left out."""
        spoke = sorted(np.unique(self.rater).tolist(), key=lambda w: self.raters[w])
        position = np.full(len(self.raters), -1, np.int64)
        position[spoke] = np.arange(len(spoke))
        order = np.lexsort((position[self.rater], self.pair))
        return replace(
            self,
            raters=[self.raters[w] for w in spoke],
            rater=position[self.rater[order]],
            pair=self.pair[order],
            answer=self.answer[order],
        )

    def take(self, pairs: Mask, answers: Mask | None = None) -> Ratings:
        """The same ratings with some pairs and their answers alone.

        Args:
            pairs: (P,) the pairs to keep.
            answers: (R,) the answers to keep, of these pairs; default: all.
        """
        keep = pairs[self.pair] if answers is None else pairs[self.pair] & answers
        position = np.cumsum(pairs) - 1
        return replace(
            self,
            pair_item=self.pair_item[pairs],
            pair_class=self.pair_class[pairs],
            rater=self.rater[keep],
            pair=position[self.pair[keep]],
            answer=self.answer[keep],
            gold=self.gold[pairs],
            ruled={int(position[p]): by for p, by in self.ruled.items() if pairs[p]},
        )

    def with_rater(self, name: str, pairs: Indices, answers: NDArray[np.int8]) -> Ratings:
        """The same ratings and one more rater, who answered ``answers`` on ``pairs``."""
        return replace(
            self,
            raters=[*self.raters, name],
            rater=np.append(self.rater, np.full(len(pairs), len(self.raters))),
            pair=np.append(self.pair, pairs),
            answer=np.append(self.answer, answers),
        )


def together(parts: Sequence[Ratings]) -> Ratings:
    """The answers of several files as one: the same answer in two of them counts once.

    Gold and original labels are those of the first that knows them.

    Raises:
        UserError: a rater answers a pair in two ways: nobody can say which one counts.
    """
    items, classes, raters, pairs = ItemIndex(), ItemIndex(), ItemIndex(), ItemIndex()
    asked: dict[int, tuple[int, int]] = {}
    gold: dict[int, float] = {}
    original: dict[int, int] = {}
    said: dict[tuple[int, int], int] = {}
    ruled: dict[int, Ruling] = {}
    for part in parts:
        item, cls = items.rows(part.items, ""), classes.rows(part.classes, "")
        who = raters.rows(part.raters, "")
        both = list(zip(item[part.pair_item].tolist(), cls[part.pair_class].tolist(), strict=True))
        pair = pairs.rows([f"{i}#{c}" for i, c in both], "")
        asked |= dict(zip(pair.tolist(), both, strict=True))
        for row, (p, share) in enumerate(zip(pair.tolist(), part.gold.tolist(), strict=True)):
            if share == share and p not in gold:
                gold[p] = share
                if row in part.ruled:
                    ruled[p] = part.ruled[row]
        for i, label in zip(item.tolist(), part.original.tolist(), strict=True):
            if label >= 0:
                original.setdefault(i, int(cls[label]))
        rows = zip(who[part.rater].tolist(), pair[part.pair].tolist(), part.answer, strict=True)
        for w, p, answer in rows:
            if said.setdefault((w, p), int(answer)) != int(answer):
                i, c = asked[p]
                raise UserError(
                    f"{raters.names[w]!r} answers {items.names[i]!r}, class {classes.names[c]!r}, with "
                    f"{ANSWERS[said[w, p]]} and with {ANSWERS[answer]}: keep one of the two"
                )
    return Ratings(
        items.names,
        classes.names,
        np.array([asked[p][0] for p in range(len(pairs))], np.int64),
        np.array([asked[p][1] for p in range(len(pairs))], np.int64),
        raters.names,
        np.array([w for w, _ in said], np.int64),
        np.array([p for _, p in said], np.int64),
        np.array(list(said.values()), np.int8),
        np.array([gold.get(p, np.nan) for p in range(len(pairs))], np.float64),
        np.array([original.get(i, -1) for i in range(len(items))], np.int64),
        ruled,
    )


def _check(
    name: str, index: NDArray[np.int64] | NDArray[np.int8], n: int, end: int, least: int = 0
) -> None:
    if index.shape != (n,):
        raise ValueError(f"{name} has shape {index.shape}, expected ({n},)")
    if n and not (least <= index.min() and index.max() < end):
        raise ValueError(f"{name} must lie in [{least}, {end}), got {index.min()} to {index.max()}")
