"""The outcome of a consensus: what went in, what came out, and how it stands to the gold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..labels import Multi
from ..relabel.raters.agreement import Agreement
from ..relabel.raters.consensus import EXPERTS, Consensus
from ..relabel.raters.ratings import YES, Ratings
from .curves import OperatingPoint, Point, point
from .quality import RaterQuality, rater_quality

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sources:
    """What the raters said, and what is known beside it."""

    ratings: Ratings
    """In an :class:`Outcome` without the owner's rulings, which decide labels and judge nobody."""
    calibration: Ratings | None = None
    """Answers on golden pairs, where they are kept apart from the others."""
    experts: NDArray[np.int8] | None = None
    """(experts, pairs of ``calibration``) the experts' own answers."""
    group: Mask | None = None
    """(C,) classes for which the original label is one more rater."""
    wanted: int = 1
    """Answers that a pair needs before its item is decided."""
    agree: int | None = None
    """Answers that settle a pair on which raters agree; None: ``wanted``."""
    gold_is_final: bool = False
    """Gold is the owner's own word, which goes into the labels whatever raters say; experts' answers on the
    published golden pairs only calibrate."""

    def truth(self) -> Mask:
        """(P,) true golden pairs of the ratings."""
        return np.asarray(self.ratings.gold > EXPERTS)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Everything that a report shows."""

    sources: Sources
    found: Consensus
    threshold: float
    items: list[str]
    """What the labels are about: all items but those of which nothing is known."""
    labels: Multi
    unlabeled: list[str]
    """Items without any label because no asked class reached the threshold: left to decide by hand."""
    pending: list[str]
    """Items of which some class lacks answers."""
    gold_items: int
    """Items whose labels are gold."""
    ruled: int
    """Pairs that the owner decided after looking at their answers."""
    agreement: Agreement
    """Of the raters on the pairs that were answered."""
    point: OperatingPoint | None
    """None without golden pairs."""
    golden_score: NDArray[np.float64] | None = None
    """(D, G) scores of the golden pairs, as the rest is scored."""
    gold_unanswered: int = 0
    """Golden pairs, where nobody has answered any of them."""
    emptied_by_gold: int = 0
    """Items whose gold, the owner's own word on all their classes, holds none; not in ``unlabeled``."""

    def experts(self) -> list[Point]:
        """Each expert against the majority of all experts, in which the expert has a part."""
        calibration, experts = self.sources.calibration, self.sources.experts
        if calibration is None or experts is None:
            return []
        truth = calibration.gold > EXPERTS
        return [point(said == YES, truth) for said in experts]

    def original(self) -> Point | None:
        """The original labels on the golden pairs."""
        ratings, golden = self.sources.ratings, self.sources.ratings.golden
        if not golden.any() or (ratings.original[ratings.pair_item[golden]] < 0).all():
            return None
        return point(ratings.pair_original()[golden], self.sources.truth()[golden])

    def quality(self) -> tuple[list[RaterQuality], bool]:
        """Every rater's quality; and whether judged by gold, or else by the consensus itself."""
        known = self.sources.calibration or self.sources.ratings
        if known.golden[known.pair].any():
            truth = np.where(known.golden, known.gold > EXPERTS, np.nan)
            return rater_quality(known, truth), True
        return rater_quality(self.sources.ratings, self.found.score), False
