"""What is asked of a review, and what it answers: plain values.

:mod:`reteach.review.session` makes them; pages and Python read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from .decisions import ReviewVerdict
from .estimate import Interval
from .order import DEFAULT

Status = Literal["open", "reviewed", "disputed", "all"]


@final
@dataclass(frozen=True)
class Query:
    """A view of the items; fields combine.

    Args:
        label: a class that the item has now.
        given: a class that it was given.
        predicted: the class that heads find most likely.
        status: open, reviewed, disputed (the last words of two reviewers differ) or all.
        text: in the name, whatever the case.
        tag: that the item has.
        saved: name of a saved view.
        like: a row: the items that look most like it, nearest first.
        order: name of an order, see :mod:`.order`; has no effect beside ``like``.
    """

    label: str | None = None
    given: str | None = None
    predicted: str | None = None
    status: Status = "open"
    text: str = ""
    tag: str | None = None
    saved: str | None = None
    like: int | None = None
    order: str = DEFAULT


@final
@dataclass(frozen=True)
class Decision:
    """The newest verdict on an item.

    Args:
        at: seconds since 1970.
        others: other reviewers whose verdicts on it count too.
    """

    verdict: ReviewVerdict
    reviewer: str
    at: float
    others: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class ReviewItem:
    """An item as people see it.

    Args:
        suggestions: (class, probability), most likely first.
        doubt: 0 … 1: that the given labels are wrong.
        likely: the probability of each given label.
    """

    row: int
    name: str
    given: tuple[str, ...]
    current: tuple[str, ...]
    suggestions: tuple[tuple[str, float], ...]
    doubt: float
    decision: Decision | None
    tags: tuple[str, ...]
    status: str = "open"
    likely: tuple[float, ...] = ()


@final
@dataclass(frozen=True)
class Receipt:
    """An action that is in the store.

    Args:
        action: its number.
        rows: the items that it is about.
        repeated: the request had been answered before.
    """

    action: int
    rows: tuple[int, ...]
    repeated: bool = False


@final
@dataclass(frozen=True)
class LearningState:
    """Where the heads are.

    Args:
        running: whether they learn now.
        number: how often they have learned since the folder was prepared.
        seconds: that the last time took.
        since: decided items that they do not know yet.
        error: why the last time failed; empty: it did not.
    """

    running: bool
    number: int
    seconds: float
    since: int
    error: str = ""


@final
@dataclass(frozen=True)
class ReviewProgress:
    """How far the review is.

    Args:
        count: all items.
        reviewed: decided ones.
        changed: those whose labels are others now.
        unclear, unusable: those that were set aside.
        disputed: those on which two reviewers do not agree.
        noise_before: share of the given labels that are wrong; None: not enough is known yet.
        noise_now: the same of the labels as they are now.
        found: share of the wrong labels that are found.
        next_100: how many of the next 100 open items are wrong.
    """

    count: int
    reviewed: int
    changed: int
    unclear: int
    unusable: int
    disputed: int
    noise_before: Interval | None
    noise_now: Interval | None
    found: Interval | None
    next_100: Interval | None


@final
@dataclass(frozen=True)
class ClassCount:
    """A class in the labels as they are now.

    Args:
        items: that have it.
        open: of them, not reviewed.
        wrong: of the open ones, how many are expected to be wrong.
    """

    name: str
    items: int
    open: int
    wrong: float
