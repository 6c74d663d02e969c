"""What reviewers do: every answer is sent when the store has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import FileResponse, JSONResponse, Response

from ...errors import UserError
from ...formatting import plural
from ...web.door import RequestRefused
from ..decisions import ReviewVerdict, VerdictKind
from ..order import DEFAULT
from ..values import Query, Receipt
from .asking import asked_of, is_order
from .cards import cards_of
from .reviewers import checked_name
from .site import MOST_SHOWN, PAGES, Here, ReviewSite, Spoken, Who, answered
from .views import corners, head_of

router = APIRouter()

MOST_ROWS = 200_000
MOST_POINTS = 20_000
EXPORTS = "export"
Json = dict[str, Any]


@router.post("/do/decide")
def decide(site: Here, guest: Who, said: Spoken) -> Response:
    """One verdict on some images."""
    kind, label = said.text("kind", 20), said.maybe("label")
    verdict = ReviewVerdict(cast(VerdictKind, kind), label)
    rows = _some(said.rows())
    receipt = answered(lambda: site.session.decide(guest.name, rows, verdict, said.request()))
    return _done(site, said, receipt, f"{plural(len(set(rows)), 'image')}: {label or kind}")


@router.post("/do/undo")
def undo(site: Here, guest: Who, said: Spoken) -> Response:
    """Turn back this reviewer's newest verdict."""
    receipt = answered(lambda: site.session.undo(guest.name, said.request()))
    return _turned(site, said, receipt, "Undone", "There is nothing to undo")


@router.post("/do/redo")
def redo(site: Here, guest: Who, said: Spoken) -> Response:
    """Say again what was turned back."""
    receipt = answered(lambda: site.session.redo(guest.name, said.request()))
    return _turned(site, said, receipt, "Done again", "There is nothing to do again")


@router.post("/do/tag")
def tag(site: Here, guest: Who, said: Spoken) -> Response:
    """Put a tag on images, or take it off."""
    name, on = _named(said), said.fields.get("on") is not False
    rows = _some(said.rows())
    receipt = answered(lambda: site.session.tag(guest.name, rows, name, on, said.request()))
    words = f"{plural(len(set(rows)), 'image')}: tag “{name}” {'on' if on else 'off'}"
    return _done(site, said, receipt, words)


@router.post("/do/save")
def save(site: Here, guest: Who, said: Spoken) -> Response:
    """Keep a view, or a selection, under a name."""
    name = _named(said)
    what: Query | list[int]
    if said.fields.get("rows"):
        what = _some(said.rows())
    else:
        query = answered(lambda: asked_of(_address(said), site.session)).query
        what = query
        if query.saved is not None or query.like is not None:  # a view is no part of another one
            what = answered(lambda: site.session.rows(query))[:MOST_ROWS].tolist()
    answered(lambda: site.session.save_view(name, what, guest.name))
    return JSONResponse({"said": f"Saved the view “{name}”", "name": name})


@router.post("/do/lasso")
def lasso(site: Here, guest: Who, said: Spoken) -> Response:
    """Keep the images within shapes on the map, all of them, as a view."""
    name = _named(said)
    asked = answered(lambda: asked_of(_address(said), site.session))
    rows = np.asarray(answered(lambda: site.session.rows(asked.query)), np.int64)
    low, high = corners(site.session)
    place = (np.asarray(site.session.positions()[rows], np.float64) - low) / (high - low)
    chosen = rows[_within(place, _shapes(said))]
    if not len(chosen):
        raise RequestRefused(422, "There is no image in the shape", "Draw around some points.")
    if len(chosen) > MOST_ROWS:
        raise RequestRefused(
            422, "Too many images", f"A view keeps {MOST_ROWS:,}; the shape has {len(chosen):,}."
        )
    answered(lambda: site.session.save_view(name, chosen, guest.name))
    return JSONResponse(
        {
            "said": f"Saved {plural(len(chosen), 'image')} as “{name}”",
            "name": name,
            "count": len(chosen),
        }
    )


@router.post("/do/learn")
def learn(site: Here, guest: Who, said: Spoken) -> Response:
    """Let the heads learn again from the labels as they are now."""
    site.session.relearn()
    return JSONResponse({"said": "Learning again", "head": _head(site, said.fields.get("order"))})


@router.post("/do/export")
def export(site: Here, guest: Who, said: Spoken) -> Response:
    """Write the labels, the changes, and how to go on."""
    out = site.session.prepared.folder / EXPORTS
    found = answered(lambda: site.session.export(out))
    values = {field: getattr(found, field) for field in ("changed", "unclear", "left_out", "train")}
    html = PAGES.page(
        "exported",
        labels=str(found.labels),
        changes=str(found.changes),
        names=(found.labels.name, found.changes.name),
        **values,
    )
    return JSONResponse({"said": "Exported", "html": bytes(html.body).decode()})


@router.get("/export/{name}")
def exported(name: str, site: Here, guest: Who) -> Response:
    """A file of the last export."""
    folder = site.session.prepared.folder / EXPORTS
    files = {path.name: path for path in folder.glob("*") if path.is_file()}
    if name not in files:
        raise RequestRefused(404, "There is no such export", "Export first.")
    return FileResponse(files[name], filename=name)


@router.get("/rows")
def rows(request: Request, site: Here, guest: Who) -> Response:
    """The numbers of all images of a view."""
    asked = answered(lambda: asked_of(request.query_params, site.session))
    found = answered(lambda: site.session.rows(asked.query))
    if len(found) > MOST_ROWS:
        raise RequestRefused(
            422,
            "Too many images",
            f"Choose a view of at most {MOST_ROWS:,}; this has {len(found):,}.",
        )
    return JSONResponse({"rows": np.asarray(found).tolist()})


@router.get("/live")
def live(site: Here, guest: Who, seen: str = "", order: str = DEFAULT) -> Response:
    """What has changed of the cards on a page since they were made.

    Args:
        seen: ``row:stamp`` of each, with commas between them.
        order: in which the page's images come.
    """
    known = {}
    for part in seen.split(",")[:MOST_SHOWN] if seen else ():
        row, _, stamp = part.partition(":")
        if not row.isascii() or not row.isdigit() or int(row) >= site.session.count:
            raise RequestRefused(422, "This request is damaged", "")
        known[int(row)] = stamp
    return JSONResponse({"head": _head(site, order), "cards": _cards(site, known)})


def _done(site: ReviewSite, said: Spoken, receipt: Receipt, words: str) -> Response:
    rows = said.shown & set(receipt.rows)
    return JSONResponse(
        {
            "said": words,
            "rows": len(receipt.rows),
            "cards": _cards(site, dict.fromkeys(sorted(rows), "")),
            "head": _head(site, said.fields.get("order")),
        }
    )


def _turned(
    site: ReviewSite, said: Spoken, receipt: Receipt | None, words: str, nothing: str
) -> Response:
    if receipt is None:
        return JSONResponse(
            {"said": nothing, "rows": 0, "cards": {}, "head": _head(site, said.fields.get("order"))}
        )
    return _done(site, said, receipt, f"{words}: {plural(len(receipt.rows), 'image')}")


def _head(site: ReviewSite, order: object) -> str:
    known = isinstance(order, str) and is_order(order, site.session)
    head = head_of(site.session, str(order) if known else DEFAULT)
    return bytes(PAGES.page("head", head=head).body).decode()


def _cards(site: ReviewSite, known: dict[int, str]) -> Json:
    """The cards of which another state is known, as HTML."""
    alone = None
    found = cards_of(site.session, list(known), alone)
    changed = [card for card in found if card.stamp != known[card.row]]
    pictures = site.gallery is not None
    return {
        str(card.row): bytes(PAGES.page("card", card=card, pictures=pictures).body).decode()
        for card in changed
    }


def _some(found: list[int]) -> list[int]:
    if not 0 < len(found) <= MOST_ROWS:
        raise RequestRefused(
            422, "That is not possible", f"Choose 1 to {MOST_ROWS:,} images, not {len(found):,}."
        )
    return found


def _named(said: Spoken) -> str:
    return answered(lambda: _clean_name(said.text("name", 80)))


def _clean_name(name: str) -> str:
    try:
        return checked_name(name)
    except UserError:
        raise UserError("a name has 1 to 80 printable characters") from None


def _address(said: Spoken) -> dict[str, str]:
    """The view that a request names, as in an address."""
    from urllib.parse import parse_qsl

    try:
        return dict(parse_qsl(said.text("view", 4000).lstrip("?"), max_num_fields=32))
    except ValueError:
        raise RequestRefused(422, "This request is damaged", "") from None


def _shapes(said: Spoken) -> list[np.ndarray[Any, Any]]:
    """Polygons with corners in 0 … 1."""
    try:
        shapes = [np.array(shape, np.float64) for shape in said.fields.get("shapes", [])]
    except (TypeError, ValueError):
        shapes = []
    total = sum(len(shape) for shape in shapes if shape.ndim)
    fine = all(s.ndim == 2 and s.shape[1] == 2 and np.isfinite(s).all() for s in shapes)
    if not shapes or not fine or not 3 <= total <= MOST_POINTS:
        raise RequestRefused(422, "This request is damaged", "A shape has three corners or more.")
    return shapes


def _within(place: np.ndarray[Any, Any], shapes: Sequence[np.ndarray[Any, Any]]) -> Any:
    """(N,) which points lie within a polygon, by the number of edges to their right."""
    inside = np.zeros(len(place), np.bool_)
    for shape in shapes:
        low, high = shape.min(0), shape.max(0)
        near = np.flatnonzero(((place >= low) & (place <= high)).all(1))
        x, y = place[near].T
        odd = np.zeros(len(near), np.bool_)
        for (ax, ay), (bx, by) in zip(shape, np.roll(shape, -1, 0), strict=True):
            if ay != by:
                crosses = (ay > y) != (by > y)
                odd ^= crosses & (x < ax + (y - ay) * (bx - ax) / (by - ay))
        inside[near] |= odd
    return inside
