"""What the page of a review asks, without HTTP.

A session is safe to share between threads. It holds arrays and what people decided, and reads the rest from
the prepared folder where it is looked at; what another process adds to the store is taken in before each
answer. Queries are cached until something changes.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..labels import Rows
from .decisions import (
    CHANGED,
    OPEN,
    RIGHT,
    STATUSES,
    UNCLEAR,
    UNUSABLE,
    Decisions,
    ReviewVerdict,
    checked,
)
from .estimate import LEAST_SETS, NoiseCurve, calibrated, interval, shares
from .export import ReviewExport, write_export
from .matching import Matching, view_of
from .order import ARRANGEMENTS, DEFAULT, Evidence, order_rows, usable_orders
from .prepared import Floats, Learned, LearnedRecord, Prepared
from .relearn import learned_from
from .store import NO_ROWS, Action, ReviewStore, append, open_review_store, request_of
from .tally import Tally
from .values import (
    ClassCount,
    Decision,
    LearningState,
    Query,
    Receipt,
    ReviewItem,
    ReviewProgress,
)

T = TypeVar("T")
STORE = "decisions.sqlite"
SUGGESTIONS = 5
SINCE_SECONDS = 0.5
"""How old a look at what other processes have added may be."""


@final
class ReviewSession:
    """An open review.

    Args:
        prepared: the folder.
        store: of decisions.
        learn_after: heads learn again by themselves after so many new decisions; 0: only when asked.
    """

    def __init__(self, prepared: Prepared, store: ReviewStore, learn_after: int = 200) -> None:
        self.prepared = prepared
        self.store = store
        self.learn_after = learn_after
        self.classes = prepared.record.classes
        self.kind = prepared.record.kind
        self.count = prepared.record.count
        self._lock = threading.RLock()
        self._learned = prepared.learned()
        self._decisions = Decisions(prepared.given, self.classes)
        self._decisions.apply(store.since(0))
        self._looked = time.monotonic()
        self._worker: threading.Thread | None = None
        self._error = ""
        self._cache: dict[Any, Any] = {}
        self._orders: dict[str, Rows] = {}
        self._tallied: tuple[int, Tally] | None = None
        self._confused: tuple[int, NDArray[np.int64]] | None = None
        self._matching = Matching(prepared)

    # --- views -------------------------------------------------------------------------------------

    def rows(self, query: Query) -> Rows:
        """The items of a view, in its order."""
        with self._lock:
            self._sync()
            return self._cached(("rows", query), lambda: self._rows(query))

    def items(self, rows: Sequence[int] | Rows) -> list[ReviewItem]:
        """Some items."""
        with self._lock:
            self._sync()
            some = self._checked_rows(rows)
            pairs = zip(some.tolist(), self._wrong(some).tolist(), strict=True)
            return [self._item(row, doubt) for row, doubt in pairs]

    def orders(self) -> tuple[str, ...]:
        """The orders that suit what is known, the usual one also arranged; :mod:`.order` knows more ways."""
        with self._lock:
            return (*usable_orders(self._evidence()), *(f"{DEFAULT}+{how}" for how in ARRANGEMENTS))

    def confusion(self) -> NDArray[np.int64]:
        """(C, C) how many items were given class i (row) and are most likely class j (column)."""
        with self._lock:
            if self._confused is None or self._confused[0] != self._learned.number:
                self._confused = self._learned.number, self._confusion()
            return self._confused[1]

    def conflicts(self) -> list[Rows]:
        """Groups of copies whose labels now differ, the rows of each."""
        with self._lock:
            self._sync()
            return self._cached(("conflicts",), self._conflicts)

    def positions(self) -> Floats:
        """(N, 2) of the map."""
        return self.prepared.positions

    def summary(self, rows: Rows) -> tuple[NDArray[np.int32], Floats, NDArray[np.uint8]]:
        """Of M rows, what a point of the map shows: the first class now (-1: none), the doubt, and the status
        (0 open, 1 right, 2 changed, 3 unclear, 4 unusable)."""
        with self._lock:
            self._sync()
            some = self._checked_rows(rows)
            first = self._cached(("first",), self._decisions.first)
            return first[some], self._wrong(some), self._decisions.status[some]

    def counts(self) -> list[ClassCount]:
        """Every class, in the order of the list."""
        with self._lock:
            self._sync()
            return self._cached(("counts",), self._counts)

    def measures(self, rows: Sequence[int] | Rows) -> dict[str, float]:
        """Numbers of a slice of M items; all but the first are shares of them.

        ``items`` is a count. ``reviewed``, ``changed``: of the items. ``noise_given``: of the given labels,
        wrong ones, found or expected; ``noise_now``: of the labels as they are now. ``given_agrees``,
        ``current_agrees``: the class that heads find most likely is among them; ``reviewed_agrees``: the
        same of the reviewed items, whose labels are known; missing where there are none. ``doubt``: the
        mean.
        """
        with self._lock:
            self._sync()
            some = self._checked_rows(rows)
            if not len(some):
                return {"items": 0.0}
            status, doubt = self._decisions.status[some], self._wrong(some)
            expected = np.where(status == OPEN, doubt, 0)
            given = self._predicted(self.prepared.given.set_of, some)
            now = self._predicted(self._decisions.set_of, some)
            judged = np.isin(status, (RIGHT, CHANGED))
            found = {
                "items": float(len(some)),
                "reviewed": float((status != OPEN).mean()),
                "changed": float((status == CHANGED).mean()),
                "noise_given": float((expected + (status == CHANGED)).mean()),
                "noise_now": float(expected.mean()),
                "given_agrees": float(given.mean()),
                "current_agrees": float(now.mean()),
                "doubt": float(doubt.mean()),
            }
            if judged.any():
                found["reviewed_agrees"] = float(now[judged].mean())
            return found

    def progress(self, order: str = DEFAULT) -> ReviewProgress:
        """How far the review is, and what going on in an order is worth."""
        with self._lock:
            self._sync()
            return self._cached(("progress", order), lambda: self._progress(order))

    # --- decisions ---------------------------------------------------------------------------------

    def decide(
        self, reviewer: str, rows: Sequence[int] | Rows, verdict: ReviewVerdict, request_id: str
    ) -> Receipt:
        """One verdict on some items, in the store before this returns.

        Raises:
            UserError: what cannot be said, items that are not there, or a store that cannot be written.
        """
        checked(verdict, self.kind, self.classes)
        some = np.unique(self._checked_rows(rows))
        if not len(some):
            raise UserError("a verdict needs at least one item")
        return self._act(reviewer, request_id, verdict.kind, verdict.label, rows=some)

    def undo(self, reviewer: str, request_id: str | None = None) -> Receipt | None:
        """Turn back the newest verdict of a reviewer that stands; None: there is none."""
        return self._turn(reviewer, "undo", request_id)

    def redo(self, reviewer: str, request_id: str | None = None) -> Receipt | None:
        """Say again what a reviewer turned back last; None: there is nothing."""
        return self._turn(reviewer, "redo", request_id)

    def tag(
        self,
        reviewer: str,
        rows: Sequence[int] | Rows,
        name: str,
        on: bool,
        request_id: str | None = None,
    ) -> Receipt:
        """Put a tag on some items, or take it off."""
        if not name.strip():
            raise UserError("a tag needs a name")
        some = np.unique(self._checked_rows(rows))
        return self._act(
            reviewer, request_id or _fresh(), "tag" if on else "untag", name.strip(), rows=some
        )

    def tags(self) -> dict[str, int]:
        """Tag -> how many items have it."""
        with self._lock:
            self._sync()
            return {name: len(rows) for name, rows in sorted(self._decisions.tags.items())}

    def save_view(
        self, name: str, what: Query | Sequence[int] | Rows, reviewer: str = ""
    ) -> Receipt:
        """Keep a query, or a selection of items, under a name."""
        if not name.strip():
            raise UserError("a view needs a name")
        if isinstance(what, Query):
            note = json.dumps(asdict(what))
            return self._act(reviewer, _fresh(), "view", name.strip(), note=note)
        return self._act(
            reviewer, _fresh(), "view", name.strip(), rows=np.unique(self._checked_rows(what))
        )

    def saved_views(self) -> dict[str, Query | Rows]:
        """Name -> query, or the rows of a selection."""
        with self._lock:
            self._sync()
            return {name: view_of(action) for name, action in sorted(self._decisions.views.items())}

    # --- learning ----------------------------------------------------------------------------------

    def relearn(self) -> None:
        """Let heads learn from the labels as they are now, in the background; does nothing while they do."""
        with self._lock:
            if self._worker is not None and self._worker.is_alive():
                return
            self._error = ""
            self._worker = threading.Thread(target=self._learn, daemon=True)
            self._worker.start()

    def wait(self, seconds: float | None = None) -> LearningState:
        """Wait for heads that learn."""
        worker = self._worker
        if worker is not None:
            worker.join(seconds)
        return self.learning()

    def learning(self) -> LearningState:
        """Where the heads are."""
        with self._lock:
            running = self._worker is not None and self._worker.is_alive()
            learned = self._learned
            decided = int(np.count_nonzero(self._decisions.status))
            since = max(decided - learned.record.reviewed, 0)
            return LearningState(
                running, learned.number, learned.record.seconds, since, self._error
            )

    def export(self, out: Path) -> ReviewExport:
        """Write the labels as they are now, what was changed, and how to go on; images stay as they are.

        Args:
            out: a folder for ``labels.parquet`` and ``changes.csv``, or the label table itself (.parquet or
                .csv), with the changes beside it.

        Raises:
            UserError: it cannot be written.
        """
        with self._lock:
            self._sync()
            return write_export(out, self.prepared, self._decisions)

    def close(self) -> None:
        """Wait for heads that learn, and close the store."""
        self.wait()
        self.store.close()

    # --- within ------------------------------------------------------------------------------------

    def _act(
        self,
        reviewer: str,
        request: str,
        kind: str,
        label: str | None,
        *,
        rows: Rows = NO_ROWS,
        note: str | None = None,
    ) -> Receipt:
        with self._lock, self.store.write() as connection:
            self._apply(self.store.since(self._decisions.last, connection))
            earlier = request_of(connection, reviewer, request)
            if earlier is not None:
                return Receipt(earlier, tuple(rows.tolist()), repeated=True)
            action = Action(
                self._decisions.last + 1,
                reviewer,
                request,
                time.time(),
                kind,
                label,
                None,
                note,
                rows,
            )
            append(connection, action)
        return self._done(action)

    def _turn(self, reviewer: str, kind: str, request: str | None) -> Receipt | None:
        with self._lock, self.store.write() as connection:
            self._apply(self.store.since(self._decisions.last, connection))
            if request is not None and (earlier := request_of(connection, reviewer, request)):
                return Receipt(earlier, (), repeated=True)
            find = self._decisions.undoable if kind == "undo" else self._decisions.redoable
            target = find(reviewer)
            if target is None:
                return None
            action = Action(
                self._decisions.last + 1,
                reviewer,
                request or _fresh(),
                time.time(),
                kind,
                None,
                target,
            )
            append(connection, action)
        receipt = self._done(action)
        return replace(receipt, rows=tuple(self._decisions.actions[target].rows.tolist()))

    def _done(self, action: Action) -> Receipt:
        """Take note of what is committed."""
        with self._lock:
            if action.id > self._decisions.last:
                self._apply(
                    [action]
                    if action.id == self._decisions.last + 1
                    else self.store.since(self._decisions.last)
                )
            if self.learn_after and self.learning().since >= self.learn_after:
                self.relearn()
        return Receipt(action.id, tuple(action.rows.tolist()))

    def _sync(self) -> None:
        """Take in what other processes have added."""
        if time.monotonic() - self._looked > SINCE_SECONDS:
            if self.store.newest() > self._decisions.last:
                self._apply(self.store.since(self._decisions.last))
            if self.prepared.newest() > self._learned.number:
                self._take(self.prepared.learned())
            self._looked = time.monotonic()

    def _apply(self, actions: Sequence[Action]) -> None:
        if self._decisions.apply(actions):
            self._cache.clear()

    def _cached(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self._cache:
            if len(self._cache) > 256:
                self._cache.clear()
            self._cache[key] = make()
        found: T = self._cache[key]
        return found

    def _checked_rows(self, rows: Sequence[int] | Rows) -> Rows:
        some = np.asarray(rows, np.int64).reshape(-1)
        if len(some) and (some.min() < 0 or some.max() >= self.count):
            odd = int(some.min()) if some.min() < 0 else int(some.max())
            raise UserError(f"there is no item {odd}: the review has {self.count:,}")
        return some

    def _rows(self, query: Query) -> Rows:
        keep = self._matching.mask(query, self._decisions, self._learned.opinion)
        if query.like is not None:
            (at,) = self._checked_rows([query.like])
            order = self._matching.alike(int(at))
        else:
            order = self._order(query.order)
        return order[keep[order]]

    def _evidence(self) -> Evidence:
        return Evidence(
            self.kind,
            len(self.classes),
            self.prepared.given,
            self._learned.opinion,
            self.prepared.second_opinion,
            self.prepared.dispute,
            self.prepared.near,
            self._decisions.said(),
            self.prepared.record.seed,
        )

    def _order(self, name: str) -> Rows:
        """All rows; fixed until heads learn again, but for the one that looks at decisions."""
        if name.split("+")[0] == "active-lab":
            return self._cached(("order", name), lambda: order_rows(name, self._evidence()))
        if name not in self._orders:
            self._orders[name] = order_rows(name, self._evidence())
        return self._orders[name]

    def _calibration(self) -> NoiseCurve:
        """From the guess to a probability, by all decisions so far."""

        def make() -> NoiseCurve:
            rows, status = self._decisions.judged(), self._decisions.status
            left, _ = self._tally().left(np.flatnonzero(status))
            return calibrated(
                self.kind,
                np.asarray(self._learned.guess[rows]),
                status[rows] == CHANGED,
                self._tally().sample(left),
            )

        return self._cached(("calibration",), make)

    def _wrong(self, rows: Rows) -> Floats:
        """(M,) the probability that the given labels of some items are wrong."""
        return self._calibration()(np.asarray(self._learned.guess[rows]))

    def _predicted(self, set_of: Callable[[int], tuple[int, ...]], rows: Rows) -> NDArray[np.bool_]:
        """(M,) where the most likely class is among some labels."""
        best = self._learned.opinion.top[rows, 0].tolist()
        pairs = zip(best, rows.tolist(), strict=True)
        return np.array([c in set_of(row) for c, row in pairs], np.bool_)

    def _item(self, row: int, doubt: float) -> ReviewItem:
        opinion, state = self._learned.opinion, self._decisions
        best = zip(
            opinion.top[row, :SUGGESTIONS].tolist(),
            opinion.scores[row, :SUGGESTIONS].tolist(),
            strict=True,
        )
        action = state.verdict_on(row)
        others = {state.actions[i].reviewer for i in state.on.get(row, ())}
        return ReviewItem(
            row,
            self.prepared.name(row),
            self._names(self.prepared.given.set_of(row)),
            self._names(state.set_of(row)),
            tuple((self.classes[c], p) for c, p in best if c >= 0),
            doubt,
            None
            if action is None
            else Decision(
                ReviewVerdict(action.kind, action.label),  # type: ignore[arg-type]
                action.reviewer,
                action.at,
                tuple(sorted(others - {action.reviewer})),
            ),
            tuple(sorted(name for name, rows in state.tags.items() if row in rows)),
            STATUSES[state.status[row]],
            tuple(opinion.given[slice(*self.prepared.given.starts[row : row + 2])].tolist()),
        )

    def _names(self, labels: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.classes[c] for c in labels)

    def _confusion(self) -> NDArray[np.int64]:
        c = len(self.classes)
        given = self.prepared.given
        best = np.asarray(self._learned.opinion.top[:, 0], np.int64)
        pair = given.columns.astype(np.int64) * c + best[given.rows]
        return np.bincount(pair, minlength=c * c).reshape(c, c)

    def _conflicts(self) -> list[Rows]:
        found = []
        for rows in self._groups:
            if len({self._decisions.set_of(row) for row in rows.tolist()}) > 1:
                found.append(rows)
        return found

    @cached_property
    def _groups(self) -> list[Rows]:
        """The rows of each group of several copies."""
        groups = self.prepared.copies
        order = np.argsort(groups, kind="stable")
        _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
        several = zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True)
        return [order[start : start + size] for start, size in several]

    def _counts(self) -> list[ClassCount]:
        tally = self._tally()
        _, table = tally.left(np.flatnonzero(self._decisions.status))
        left, expected = table.sum(1), table @ self._calibration()(tally.middle)
        now = [c for labels in self._decisions.labels.values() for c in labels]
        items = left + np.bincount(np.array(now, np.int64), minlength=len(self.classes))
        each = zip(self.classes, items.tolist(), left.tolist(), expected.tolist(), strict=True)
        return [ClassCount(*one) for one in each]

    def _tally(self) -> Tally:
        """The given labels by class and by guess."""
        if self._tallied is None or self._tallied[0] != self._learned.number:
            found = Tally.of(self.prepared.given, self._learned.guess, len(self.classes))
            self._tallied = self._learned.number, found
        return self._tallied[1]

    def _progress(self, order: str) -> ReviewProgress:
        status, guessed = self._decisions.status, self._learned.guess
        number = np.bincount(status, minlength=len(STATUSES)).tolist()
        before = now = found = coming = None
        judged = number[RIGHT] + number[CHANGED]
        if self.kind == "single" or judged >= LEAST_SETS:
            ahead = self._order(order)
            ahead = ahead[status[ahead] == OPEN][:100]
            curve, tally, decided = self._calibration(), self._tally(), np.flatnonzero(status)
            left, _ = tally.left(decided)
            aside = decided[np.isin(status[decided], (UNCLEAR, UNUSABLE))]
            usable = self._labelled_count - np.count_nonzero(self._labelled[aside])
            before, now, found = shares(
                curve.total(tally.middle, left), number[CHANGED], max(int(usable), 1)
            )
            coming = interval(curve.total(np.asarray(guessed[ahead]), offered=True))
        return ReviewProgress(
            self.count,
            self.count - number[OPEN],
            number[CHANGED],
            number[UNCLEAR],
            number[UNUSABLE],
            len(self._decisions.disputed()),
            before,
            now,
            found,
            coming,
        )

    @cached_property
    def _labelled(self) -> NDArray[np.bool_]:
        """(N,) the items whose given labels can be wrong."""
        return self._evidence().labelled()

    @cached_property
    def _labelled_count(self) -> int:
        return int(np.count_nonzero(self._labelled))

    def _learn(self) -> None:
        began = time.monotonic()
        try:
            with self._lock:
                status = np.array(self._decisions.status)
                last, labels = self._decisions.last, self._decisions.current()
                judged = self._decisions.judged()
            record = LearnedRecord(last, 0.0, int(np.count_nonzero(status)))
            opinion, guessed = learned_from(self.prepared, labels, status, judged)
            seconds = time.monotonic() - began
            learned = self.prepared.add_learned(replace(record, seconds=seconds), opinion, guessed)
        except (UserError, OSError, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            self._error = " ".join(str(error).split())[:200] or type(error).__name__
            return
        with self._lock:
            self._take(learned)

    def _take(self, learned: Learned) -> None:
        self._learned = learned
        self._orders.clear()
        self._cache.clear()


def _fresh() -> str:
    """A request that is never sent again."""
    import secrets

    return secrets.token_hex(16)


def open_session(
    folder: Path, store: str | None = None, *, learn_after: int = 200
) -> ReviewSession:
    """Open a prepared folder, with its decisions in the folder or in ``store``.

    Args:
        store: a SQLite file or a ``postgresql://`` address.

    Raises:
        UserError: no prepared folder, a damaged one, or a store of another review.
    """
    prepared = Prepared(folder)
    where = store or str(folder / STORE)
    return ReviewSession(prepared, open_review_store(where, prepared.record.identity), learn_after)
