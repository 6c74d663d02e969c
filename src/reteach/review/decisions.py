"""What all decisions so far come to: the labels as they are now, and who said what.

A pure replay of the store's actions, in their order. An item's labels are the given ones, changed by every
verdict on it that has not been undone; so two reviewers who add different classes to a set both count, and
of two who name *the* class the later one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, final, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, closest
from ..labels import Rows
from .prepared import Entries, Kind
from .store import Action

VerdictKind = Literal["right", "is", "also", "not", "unclear", "unusable"]
VERDICTS: tuple[str, ...] = get_args(VerdictKind)
NAMING = ("is", "also", "not")
"""Verdicts that name a class."""
Labels = tuple[int, ...]
STATUSES = ("open", "right", "changed", "unclear", "unusable")
OPEN, RIGHT, CHANGED, UNCLEAR, UNUSABLE = range(len(STATUSES))
"""The status of an item."""


@final
@dataclass(frozen=True)
class ReviewVerdict:
    """What a reviewer says of an image.

    Args:
        kind: *right*: the labels are right as they are now. *is*: it is this class, and no other. *also*,
            *not*: of label sets, the class belongs to it, or does not. *unclear*: nobody can tell.
            *unusable*: the image is to be left out.
        label: the class; of the kinds that name one.
    """

    kind: VerdictKind
    label: str | None = None


def checked(verdict: ReviewVerdict, kind: Kind, classes: Sequence[str]) -> None:
    """Refuse what cannot be said.

    Raises:
        UserError: an unknown kind of verdict or class, a class too many or too few.
    """
    if verdict.kind not in VERDICTS:
        raise UserError(f"verdict {verdict.kind!r} is none of {', '.join(VERDICTS)}")
    if verdict.kind in NAMING and verdict.label is None:
        raise UserError(f"the verdict {verdict.kind!r} names a class")
    if verdict.kind not in NAMING and verdict.label is not None:
        raise UserError(f"the verdict {verdict.kind!r} names no class, got {verdict.label!r}")
    if verdict.kind in ("also", "not") and kind == "single":
        raise UserError(
            f"the verdict {verdict.kind!r} is for label sets, and each item here has one label"
        )
    if verdict.label is not None and verdict.label not in classes:
        raise UserError(
            f"class {verdict.label!r} is not in the class list{closest(verdict.label, list(classes))}"
        )


@final
@dataclass(eq=False)
class _Hands:
    """What a reviewer can undo, and do again: numbers of actions."""

    done: list[int] = field(default_factory=list)
    undone: list[int] = field(default_factory=list)


@final
class Decisions:
    """The state after some actions.

    Args:
        given: N given label sets.
        classes: their names.
    """

    def __init__(self, given: Entries, classes: Sequence[str]) -> None:
        self.given = given
        self.class_of = {name: c for c, name in enumerate(classes)}
        self.status = np.zeros(len(given), np.uint8)
        self.last = 0
        """Number of the newest action."""
        self.actions: dict[int, Action] = {}
        """Verdicts, by number."""
        self.on: dict[int, list[int]] = {}
        """Row -> the verdicts on it that are not undone, in order; decided rows alone."""
        self.labels: dict[int, Labels] = {}
        """Row -> its classes now; decided rows alone."""
        self.tags: dict[str, dict[int, None]] = {}
        """Tag -> the rows that have it."""
        self.views: dict[str, Action] = {}
        """Name -> the action that saved the view."""
        self._hands: dict[str, _Hands] = {}

    def apply(self, actions: Iterable[Action]) -> bool:
        """Take note of actions, in order; tells whether there were any."""
        before = self.last
        for action in actions:
            self.last = action.id
            if action.kind in ("undo", "redo"):
                self._turn(action)
            elif action.kind in ("tag", "untag"):
                self._tag(action)
            elif action.kind == "view":
                self.views[str(action.label)] = action
            else:
                self._verdict(action)
        return self.last > before

    def undoable(self, reviewer: str) -> int | None:
        """The action that :meth:`undo` of a reviewer would turn back."""
        hands = self._hands.get(reviewer)
        return hands.done[-1] if hands and hands.done else None

    def redoable(self, reviewer: str) -> int | None:
        """The action that a reviewer turned back last, and may do again."""
        hands = self._hands.get(reviewer)
        return hands.undone[-1] if hands and hands.undone else None

    def set_of(self, row: int) -> Labels:
        """The classes of an item now."""
        found = self.labels.get(row)
        return self.given.set_of(row) if found is None else found

    def having(self, column: int) -> NDArray[np.bool_]:
        """(N,) the items that have a class now."""
        found = self.given.having(column)
        for row, labels in self.labels.items():
            found[row] = column in labels
        return found

    def first(self) -> NDArray[np.int32]:
        """(N,) the first class of each item now, -1 for none: of single labels, the label."""
        found = np.array(self.given.first)
        if self.labels:
            rows = np.fromiter(self.labels, np.int64, len(self.labels))
            found[rows] = [labels[0] if labels else -1 for labels in self.labels.values()]
        return found

    def judged(self) -> Rows:
        """The rows whose labels are known to be right or were mended, ascending."""
        return np.flatnonzero((self.status == RIGHT) | (self.status == CHANGED))

    def current(self) -> Entries:
        """The labels of all items as they are now."""
        given = self.given
        if not self.labels:
            return given
        decided = np.zeros(len(given), np.bool_)
        decided[np.fromiter(self.labels, np.int64, len(self.labels))] = True
        keep = ~decided[given.rows]
        pairs = [(row, c) for row, labels in self.labels.items() for c in labels]
        more = np.array(pairs, np.int32).reshape(-1, 2)
        row = np.concatenate([given.rows[keep], more[:, 0]])
        column = np.concatenate([given.columns[keep], more[:, 1]])
        order = np.lexsort((column, row))
        starts = np.searchsorted(row[order], np.arange(len(given) + 1))
        return Entries(starts, np.asarray(column[order], np.int32))

    def verdict_on(self, row: int) -> Action | None:
        """The newest verdict on an item; None: it is open."""
        ids = self.on.get(row)
        return self.actions[ids[-1]] if ids else None

    def disputed(self) -> Rows:
        """Items on which the last words of two reviewers do not agree."""
        return np.array(sorted(r for r, ids in self.on.items() if self._differ(r, ids)), np.int64)

    def said(self) -> Rows:
        """(M, 2) item and class of every verdict that stands and leaves one label, in their order."""
        found = []
        for row, ids in self.on.items():
            given = self.given.set_of(row)
            labels: Labels = given
            for i in ids:
                labels, status = self._changed(labels, self.actions[i], given)
                if status in (RIGHT, CHANGED) and len(labels) == 1:
                    found.append((row, labels[0]))
        return np.array(found, np.int64).reshape(-1, 2)

    def _differ(self, row: int, ids: Sequence[int]) -> bool:
        if len(ids) < 2 or len({self.actions[i].reviewer for i in ids}) < 2:
            return False
        own: dict[str, tuple[Labels, int]] = {}
        for i in ids:
            action = self.actions[i]
            before = own.get(action.reviewer, (self.given.set_of(row), OPEN))[0]
            own[action.reviewer] = self._changed(before, action, self.given.set_of(row))
        return len(set(own.values())) > 1

    def _verdict(self, action: Action) -> None:
        self.actions[action.id] = action
        hands = self._hands.setdefault(action.reviewer, _Hands())
        hands.done.append(action.id)
        hands.undone.clear()
        for row in action.rows.tolist():
            self.on.setdefault(row, []).append(action.id)
            self._settle(row)

    def _turn(self, action: Action) -> None:
        """Undo or redo: the action that it is about goes from one hand into the other."""
        hands = self._hands.setdefault(action.reviewer, _Hands())
        source, to = (
            (hands.done, hands.undone) if action.kind == "undo" else (hands.undone, hands.done)
        )
        target = self.actions[action.target or 0]
        source.remove(target.id)
        to.append(target.id)
        for row in target.rows.tolist():
            ids = self.on.setdefault(row, [])
            if action.kind == "undo":
                ids.remove(target.id)
            else:  # as said now: of two reviewers, the later one counts
                ids.append(target.id)
            self._settle(row)

    def _settle(self, row: int) -> None:
        """The labels and the status of an item, from the verdicts on it."""
        given = self.given.set_of(row)
        labels, status = given, OPEN
        for i in self.on[row]:
            labels, status = self._changed(labels, self.actions[i], given)
        if status == OPEN:
            del self.on[row]
            self.labels.pop(row, None)
        else:
            self.labels[row] = labels
        self.status[row] = status

    def _changed(self, labels: Labels, action: Action, given: Labels) -> tuple[Labels, int]:
        """Labels after a verdict, and the status."""
        if action.kind == "unclear":
            return labels, UNCLEAR
        if action.kind == "unusable":
            return labels, UNUSABLE
        now = set(labels)
        if action.kind != "right":
            column = self.class_of[str(action.label)]
            if action.kind == "is":
                now = {column}
            elif action.kind == "also":
                now.add(column)
            else:
                now.discard(column)
        found = tuple(sorted(now))
        return found, RIGHT if found == given else CHANGED

    def _tag(self, action: Action) -> None:
        rows = self.tags.setdefault(str(action.label), {})
        for row in action.rows.tolist():
            if action.kind == "tag":
                rows[row] = None
            else:
                rows.pop(row, None)
        if not rows:
            del self.tags[str(action.label)]
