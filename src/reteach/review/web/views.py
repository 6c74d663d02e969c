"""The pages: images, one image, confusion, copies, the map, progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from ...data.loading.decode import ImageError
from ...errors import UserError
from ...web.door import Number, RequestRefused
from ..order import DEFAULT
from ..session import ReviewSession
from ..values import ClassCount, LearningState, Query, ReviewProgress
from .asking import SIZES, Asked, asked_of, some_of
from .cards import cards_of, when
from .site import PAGES, ROLE, Guest, Here, ReviewSite, Who

router = APIRouter()

CLASSES_SHOWN = 300
PAIRS_SHOWN = 60
MATRIX_SIDE = 30
GROUPS_SHOWN = 20
ALIKE_SHOWN = 8
MAP_POINTS = 150_000
KEEP = {"Cache-Control": "private, max-age=600"}


@router.get("/r/{token}")
def open_link(request: Request, token: str, site: Here) -> Response:
    """A reviewer's link."""
    if site.reviewers.by_token(token) is None:
        raise site.door.guessed(request)
    return site.door.enter(ROLE, token, "/")


@router.get("/")
def images(request: Request, site: Here, guest: Who) -> Response:
    """The images of a view, the most doubtful first."""
    asked = _asked(request, site.session)
    rows = _rows(site.session, asked)
    some, start = some_of(rows, asked)
    cards = cards_of(site.session, some, asked.query.label)
    like = None if asked.query.like is None else cards_of(site.session, [asked.query.like])[0]
    return shown(
        site,
        guest,
        "images",
        asked=asked,
        cards=cards,
        found=len(rows),
        start=start,
        sizes=SIZES,
        orders=[name for name in site.session.orders() if "+" not in name],
        classes=class_rows(site.session),
        class_count=len(site.session.classes),
        like=like,
        tags=site.session.tags(),
        saved=list(site.session.saved_views()),
    )


@router.get("/item/{row}")
def item(request: Request, row: Number, site: Here, guest: Who, part: bool = False) -> Response:
    """One image, large; with ``part``, what a dialog shows of it."""
    asked = _asked(request, site.session)
    if row >= site.session.count:
        raise RequestRefused(
            404, "There is no such image", f"The last one is {site.session.count - 1:,}."
        )
    card = cards_of(site.session, [row])[0]
    near = site.session.rows(Query(status="all", like=row))[: ALIKE_SHOWN + 1]
    alike = cards_of(site.session, [int(r) for r in near if r != row][:ALIKE_SHOWN])
    values: dict[str, Any] = {
        "card": card,
        "alike": alike,
        "asked": asked,
        "when": when,
        "sets": site.session.kind == "multi",
    }
    if part:
        return PAGES.page("item_part", pictures=site.gallery is not None, **values)
    rows = _rows(site.session, asked)
    (at,) = np.nonzero(rows == row)
    i = int(at[0]) if len(at) else None
    return shown(
        site,
        guest,
        "item",
        before=int(rows[i - 1]) if i else None,
        after=int(rows[i + 1]) if i is not None and i + 1 < len(rows) else None,
        at=i,
        found=len(rows),
        **values,
    )


@router.get("/confusion")
def confusion(site: Here, guest: Who) -> Response:
    """Which class is called which."""
    counts = site.session.confusion()
    return shown(
        site,
        guest,
        "confusion",
        pairs=_pairs(counts, site.session.classes),
        matrix=_matrix(counts, site.session.classes),
        sets=site.session.kind == "multi",
    )


@router.get("/copies")
def copies(site: Here, guest: Who, page: int = 1) -> Response:
    """Copies of one image whose labels differ, side by side."""
    groups = site.session.conflicts()
    pages = max(1, -(-len(groups) // GROUPS_SHOWN))
    page = max(1, min(page, pages))
    some = groups[(page - 1) * GROUPS_SHOWN : page * GROUPS_SHOWN]
    return shown(
        site,
        guest,
        "copies",
        groups=[cards_of(site.session, [int(r) for r in group[:60]]) for group in some],
        found=len(groups),
        page=page,
        pages=pages,
    )


@router.get("/map")
def embedding_map(request: Request, site: Here, guest: Who) -> Response:
    """All images as points, those that look alike near each other."""
    asked = _asked(request, site.session)
    return shown(
        site,
        guest,
        "map",
        asked=asked,
        found=len(_rows(site.session, asked)),
        most=MAP_POINTS,
        classes=class_rows(site.session),
    )


@router.get("/map/points")
def points(request: Request, site: Here, guest: Who) -> Response:
    """The points of a view: row u4, x and y u2 each, class u2, doubt u1, status u1; little-endian.

    Of more than the page can draw, every second, third … in the order of the view.
    """
    asked = _asked(request, site.session)
    rows = np.asarray(_rows(site.session, asked), np.int64)
    if len(rows) > MAP_POINTS:
        rows = rows[np.linspace(0, len(rows) - 1, MAP_POINTS).astype(np.int64)]
    return Response(_packed(site.session, rows), media_type="application/octet-stream")


@router.get("/progress")
def progress(site: Here, guest: Who) -> Response:
    """How far the review is, what going on is worth, and the way out."""
    making = site.thumbnails.state() if site.thumbnails is not None else None
    return shown(
        site,
        guest,
        "progress",
        classes=class_rows(site.session),
        class_count=len(site.session.classes),
        folder=str(site.session.prepared.folder),
        making=making,
        reviewers=site.reviewers.names,
        public=site.public,
        tags=site.session.tags(),
        saved=list(site.session.saved_views()),
    )


@router.get("/measures")
def measures(request: Request, site: Here, guest: Who) -> Response:
    """Numbers of a view, as a part of a page."""
    asked = _asked(request, site.session)
    rows = _rows(site.session, asked)
    return PAGES.page("measures", measures=site.session.measures(rows), found=len(rows))


@router.get("/thumb/{row}")
def thumb(row: Number, site: Here, guest: Who) -> Response:
    """A thumbnail."""
    if site.thumbnails is None or row >= site.session.count:
        raise RequestRefused(404, "There is no such image", "")
    try:
        data = site.thumbnails.get(row)
    except ImageError as error:
        raise RequestRefused(404, "This image cannot be shown", str(error)) from None
    return Response(data, media_type="image/jpeg", headers=KEEP)


@router.get("/image/{row}")
def image(row: Number, site: Here, guest: Who) -> Response:
    """An image, large enough to look closely."""
    if site.gallery is None or row >= site.session.count:
        raise RequestRefused(404, "There is no such image", "")
    try:
        picture = site.gallery.picture(site.session.prepared.name(row))
    except ImageError as error:
        raise RequestRefused(404, "This image cannot be shown", str(error)) from None
    return Response(picture.data, media_type=picture.media_type, headers=KEEP)


@router.get("/classes.json")
def class_names(site: Here, guest: Who) -> list[str]:
    """All classes, by number."""
    return list(site.session.classes)


@router.get("/favicon.ico")
def favicon() -> Response:
    """Browsers ask for it whatever the page says."""
    return RedirectResponse("/static/icon.svg", 301)


def shown(site: ReviewSite, guest: Guest, template: str, **values: Any) -> Response:
    """A page, with what every page has."""
    return PAGES.page(
        template,
        here=template,
        guest=guest,
        form=guest.form,
        pictures=site.gallery is not None,
        sets_of_labels=site.session.kind == "multi",
        head=head_of(site.session, values["asked"].query.order if "asked" in values else DEFAULT),
        **values,
    )


@final
@dataclass(frozen=True)
class PageHead:
    """What the top of every page says."""

    progress: ReviewProgress
    learning: LearningState
    order: str
    """In which the next images come."""


def head_of(session: ReviewSession, order: str = DEFAULT) -> PageHead:
    """The state of the work."""
    return PageHead(session.progress(order), session.learning(), order)


def class_rows(session: ReviewSession) -> list[ClassCount]:
    """The classes with the most wrong ones first."""
    counts = sorted(session.counts(), key=lambda count: -count.wrong)
    return counts[:CLASSES_SHOWN]


@final
@dataclass(frozen=True)
class Pair:
    """Items of one class that the model finds to be another."""

    given: str
    predicted: str
    count: int
    share: float
    """Of the items of the given class."""


def _pairs(counts: np.ndarray[Any, Any], classes: Sequence[str]) -> list[Pair]:
    off = np.array(counts)
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:PAIRS_SHOWN]
    sizes = np.maximum(counts.sum(1), 1)
    found = [divmod(int(at), len(classes)) for at in order]
    return [
        Pair(classes[i], classes[j], int(off[i, j]), float(off[i, j] / sizes[i]))
        for i, j in found
        if off[i, j] > 0
    ]


@final
@dataclass(frozen=True)
class Matrix:
    """A square of the confusion matrix: all classes, or those with the most confusion."""

    names: tuple[str, ...]
    rows: tuple[tuple[tuple[int, int], ...], ...]
    """Per cell: the count, and its shade 0 … 9 by its share of the row."""
    whole: bool


def _matrix(counts: np.ndarray[Any, Any], classes: Sequence[str]) -> Matrix:
    off = np.array(counts)
    np.fill_diagonal(off, 0)
    worst = np.argsort(-(off.sum(0) + off.sum(1)), kind="stable")[:MATRIX_SIDE]
    keep = np.sort(worst)
    sizes = np.maximum(counts.sum(1), 1)
    rows = tuple(
        tuple((int(counts[i, j]), _shade(counts[i, j] / sizes[i])) for j in keep) for i in keep
    )
    return Matrix(tuple(classes[i] for i in keep), rows, len(classes) <= MATRIX_SIDE)


def _shade(share: float) -> int:
    """Shares of a few percent must be told apart as well as large ones: by the square root."""
    return 0 if share == 0 else max(1, min(9, round(9 * float(share) ** 0.5)))


def _packed(session: ReviewSession, rows: np.ndarray[Any, Any]) -> bytes:
    out = np.zeros(
        len(rows),
        [
            ("row", "<u4"),
            ("x", "<u2"),
            ("y", "<u2"),
            ("label", "<u2"),
            ("doubt", "u1"),
            ("status", "u1"),
        ],
    )
    if len(rows):
        low, high = corners(session)
        place = (np.asarray(session.positions()[rows], np.float64) - low) / (high - low)
        out["row"] = rows
        out["x"], out["y"] = np.clip(65535 * place, 0, 65535).T
        out["label"], doubt, out["status"] = session.summary(rows)
        out["doubt"] = np.clip(255 * doubt, 0, 255)
    return out.tobytes()


def corners(session: ReviewSession) -> tuple[Any, Any]:
    """The lowest and the highest corner of the map, never the same."""
    place = session.positions()
    low, high = np.min(place, 0), np.max(place, 0)
    return low.astype(np.float64), np.maximum(high.astype(np.float64), low + 1e-9)


def _asked(request: Request, session: ReviewSession) -> Asked:
    try:
        return asked_of(request.query_params, session)
    except UserError as error:
        raise RequestRefused(404, "There is no such view", str(error)) from None


def _rows(session: ReviewSession, asked: Asked) -> np.ndarray[Any, Any]:
    try:
        return session.rows(asked.query)
    except UserError as error:
        raise RequestRefused(404, "There is no such view", str(error)) from None
