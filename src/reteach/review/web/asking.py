"""Views as addresses: what a page shows is in its address, so that it can be kept and sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, final
from urllib.parse import urlencode

from ...errors import UserError
from ...labels import Rows
from ..session import ReviewSession
from ..values import Query

SIZES = (30, 60, 120, 240)
DEFAULT_SIZE = 60
ARRANGED: tuple[tuple[str, ...], ...] = ((), ("balanced",), ("diverse",), ("balanced", "diverse"))
"""What can be done to an order, in names of :data:`..order.ARRANGEMENTS`."""
STATUSES = ("open", "reviewed", "disputed", "all")
LONGEST = 300
_TEXTS = ("label", "given", "predicted", "tag", "saved", "order", "status")


@final
@dataclass(frozen=True)
class Asked:
    """A page of a view.

    Args:
        query: the view.
        start: how many images of the view come before the page.
        size: images per page.
    """

    query: Query
    start: int = 0
    size: int = DEFAULT_SIZE

    def address(self, path: str = "/", **changes: Any) -> str:
        """The address of this view with some changes; a change of the view begins at its start.

        Args:
            changes: fields of the query, ``start`` and ``size``; None takes a filter away.
        """
        own = {field.name for field in fields(Query)}
        asked = {key: value for key, value in changes.items() if key in own}
        asked = {key: _default(key) if value is None else value for key, value in asked.items()}
        query = replace(self.query, **asked)
        start = changes.get("start", 0 if asked or "size" in changes else self.start)
        size = changes.get("size", self.size)
        found = {
            _name_of(key): getattr(query, key)
            for key in sorted(own)
            if getattr(query, key) != _default(key)
        }
        if start:
            found["start"] = start
        if size != DEFAULT_SIZE:
            found["size"] = size
        return path + (f"?{urlencode(found)}" if found else "")

    @property
    def base(self) -> str:
        """The order without its arrangements."""
        return self.query.order.partition("+")[0]

    @property
    def arranged(self) -> str:
        """The arrangements of the order, with plus signs before them."""
        return self.query.order[len(self.base) :]

    def filters(self) -> list[tuple[str, str]]:
        """(field, words) of the filters that are on, without class, status and order."""
        q = self.query
        found = []
        if q.given is not None:
            found.append(("given", f"labelled {q.given}"))
        if q.predicted is not None:
            found.append(("predicted", f"called {q.predicted} by the model"))
        if q.tag is not None:
            found.append(("tag", f"tag {q.tag}"))
        if q.saved is not None:
            found.append(("saved", f"view {q.saved}"))
        if q.text:
            found.append(("text", f"name has “{q.text}”"))
        return found


def asked_of(given: Mapping[str, str], session: ReviewSession) -> Asked:
    """The view in an address.

    Raises:
        UserError: it names what is not there.
    """
    text = {key: given[key] for key in _TEXTS if given.get(key)}
    if any(len(value) > LONGEST for value in given.values()):
        raise UserError("this address is too long")
    status = text.pop("status", "open")
    if status not in STATUSES:
        raise UserError(f"status {status!r} is none of {', '.join(STATUSES)}")
    for key in ("label", "given", "predicted"):
        if key in text and text[key] not in session.classes:
            raise UserError(f"there is no class {text[key]!r}")
    if "order" in text and not is_order(text["order"], session):
        raise UserError(f"there is no order {text['order']!r}")
    if "tag" in text and text["tag"] not in session.tags():
        raise UserError(f"there is no tag {text['tag']!r}")
    if "saved" in text and text["saved"] not in session.saved_views():
        raise UserError(f"there is no saved view {text['saved']!r}")
    like = _number(given, "like", None)
    if like is not None and like >= session.count:
        raise UserError(f"there is no image {like}: the review has {session.count:,}")
    size = _number(given, "size", DEFAULT_SIZE)
    query = Query(**text, status=status, text=given.get("q", ""), like=like)  # type: ignore[arg-type]
    start = _number(given, "start", 0) or 0
    return Asked(query, start, size if size in SIZES else DEFAULT_SIZE)


def is_order(name: str, session: ReviewSession) -> bool:
    """Whether images can come in an order of this name."""
    base, *arranged = name.split("+")
    return base in session.orders() and tuple(arranged) in ARRANGED


def some_of(rows: Rows, asked: Asked) -> tuple[list[int], int]:
    """The rows of a page and where it starts: at the last page, where the address asks for a later one."""
    start = asked.start
    if start >= len(rows):
        start = max(0, (len(rows) - 1) // asked.size * asked.size)
    return [int(row) for row in rows[start : start + asked.size]], start


def _number(given: Mapping[str, str], key: str, default: int | None) -> int | None:
    value = given.get(key, "")
    if not value:
        return default
    if not value.isascii() or not value.isdigit() or len(value) > 10:
        raise UserError(f"{key} {value[:20]!r} is no number")
    return int(value)


def _name_of(key: str) -> str:
    return "q" if key == "text" else key


def _default(key: str) -> Any:
    return next(field.default for field in fields(Query) if field.name == key)
