"""Which images a query is about, and which are like one of them."""

from __future__ import annotations

from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, closest
from ..labels import Rows
from ..structured import parse_json
from .decisions import OPEN, Decisions
from .prepared import Floats, Opinion, Prepared
from .store import Action
from .values import Query

Mask = NDArray[np.bool_]
MOST_ALIKE = 1000
"""How many images "more like this" offers."""
_KEPT_TEXTS, _KEPT_NEAR = 32, 256


@final
class Matching:
    """What of a prepared folder answers queries; what was found of texts and neighbours is kept."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self._column = {name: c for c, name in enumerate(prepared.record.classes)}
        self._texts: dict[str, Mask] = {}
        self._near: dict[int, Rows] = {}

    def mask(self, query: Query, decisions: Decisions, opinion: Opinion) -> Mask:
        """(N,) the items that a query is about, whatever their order.

        Raises:
            UserError: a class or a saved view that is not there.
        """
        status = decisions.status
        keep = np.ones(len(status), np.bool_)
        if query.status == "disputed":
            keep &= self._only(decisions.disputed())
        elif query.status != "all":
            keep &= (status == OPEN) if query.status == "open" else (status != OPEN)
        if query.label is not None:
            keep &= decisions.having(self._class(query.label))
        if query.given is not None:
            given = self.prepared.given
            keep &= self._only(given.rows[given.columns == self._class(query.given)])
        if query.predicted is not None:
            keep &= opinion.top[:, 0] == self._class(query.predicted)
        if query.text:
            keep &= self._named(query.text)
        if query.tag is not None:
            keep &= self._only(np.fromiter(decisions.tags.get(query.tag, {}), np.int64))
        if query.saved is not None:
            action = decisions.views.get(query.saved)
            if action is None:
                raise UserError(f"there is no saved view {query.saved!r}")
            view = view_of(action)
            keep &= (
                self.mask(view, decisions, opinion) if isinstance(view, Query) else self._only(view)
            )
        return keep

    def alike(self, row: int) -> Rows:
        """The rows whose features point most nearly in the same direction, nearest first."""
        if row not in self._near:
            if len(self._near) > _KEPT_NEAR:
                self._near.clear()
            self._near[row] = self._nearest(row)
        return self._near[row]

    def _class(self, name: str) -> int:
        if name not in self._column:
            raise UserError(
                f"class {name!r} is not in the class list{closest(name, list(self._column))}"
            )
        return self._column[name]

    def _only(self, rows: Rows) -> Mask:
        found = np.zeros(self.prepared.record.count, np.bool_)
        found[rows] = True
        return found

    def _named(self, text: str) -> Mask:
        """(N,) where a name contains a text."""
        import pyarrow.compute as pc

        if text not in self._texts:
            if len(self._texts) > _KEPT_TEXTS:
                self._texts.clear()
            found = pc.match_substring(self.prepared.lower_names, text.lower())
            self._texts[text] = np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)
        return self._texts[text]

    @cached_property
    def _squares(self) -> Floats:
        """(N,) squared lengths of the features in few directions."""
        near = self.prepared.near
        found: Floats = np.einsum("ij,ij->i", near, near)
        return found

    def _nearest(self, at: int) -> Rows:
        near = self.prepared.near
        apart = self._squares - 2 * (near @ near[at])
        some = np.argpartition(apart, min(2 * MOST_ALIKE, len(near) - 1))[: 2 * MOST_ALIKE]
        some = np.sort(some)
        x = np.asarray(self.prepared.features[some], np.float32)
        own = np.asarray(self.prepared.features[at], np.float32)
        cosine = x @ own / np.maximum(np.linalg.norm(x, axis=1) * np.linalg.norm(own), 1e-12)
        cosine[some == at] = np.inf
        return some[np.argsort(-cosine, kind="stable")][:MOST_ALIKE]


def view_of(action: Action) -> Query | Rows:
    """What was kept under a name: a query, or the rows of a selection."""
    return action.rows if action.note is None else Query(**parse_json(action.note))
