"""The rater's pages, and the app that holds all pages together."""

from __future__ import annotations

from math import isnan

from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from ..data.loading.decode import ImageError
from ..web.app import new_app
from ..web.door import Number, RequestRefused
from . import owner
from .app_state import Form, Here, Site, Visitor, check_form
from .assignment import HOLD, NoImages, NotYours
from .beside import Beside, called, exist, matching
from .pages import PAGES, page
from .raters import Rater, by_token
from .views import counts, earlier, item_name, task_view

router = APIRouter()
OTHERS = 8
"""Most classes that a rater can add to an image at once."""


def create_app(site: Site) -> FastAPI:
    """The whole web app over one store."""
    app = new_app("reteach rate", site.public, PAGES, router, owner.router)
    app.state.site = site
    return app


@router.get("/")
def start(request: Request, site: Here) -> Response:
    """To where the visitor belongs."""
    role = "rater" if site.door.cookie("rater") in request.cookies else "owner"
    return RedirectResponse("/rate" if role == "rater" else "/owner", 303)


@router.get("/r/{token}")
def open_link(request: Request, token: str, site: Here) -> Response:
    """A rater's link."""
    with site.store.read() as connection:
        rater = by_token(connection, token)
        new = rater is not None and not counts(connection, rater.id).answered
    if rater is None:
        raise site.door.guessed(request)
    return site.door.enter("rater", token, "/instructions" if new else "/rate")


@router.get("/instructions")
def instructions(request: Request, site: Here) -> Response:
    """What to do, and when to say yes."""
    _, rater = site.rater(request)
    return page("instructions", kind=site.store.settings.kind, rater=rater)


@router.get("/rate")
def rate(request: Request, site: Here) -> Response:
    """The task to do now."""
    visitor, rater = site.rater(request)
    if rater.state == "paused":
        raise RequestRefused(
            200, "A pause", "The work has been paused for you. Please come back later."
        )
    try:
        held = site.flow.hand(rater.id)
    except NoImages:
        raise RequestRefused(
            503, "The images are away", "Please tell the owner, and try again later."
        ) from None
    if held:
        upcoming = held[1].item if len(held) == HOLD else None
        return _task_page(site, visitor, rater, held[0].task, upcoming)
    return _resting(site, rater, "done")


@router.get("/rate/{task}")
def revisit(request: Request, task: Number, site: Here) -> Response:
    """A task that the rater has or had, to look at or change the answers."""
    visitor, rater = site.rater(request)
    return _task_page(site, visitor, rater, task)


@router.post("/rate/{task}")
def submit(request: Request, task: Number, site: Here, form: Form) -> Response:
    """Take the answers; the reply is sent when they are durable."""
    visitor, rater = site.rater(request)
    check_form(visitor, form)
    try:
        also = _beside(site, form)
        if form.get("do") == "skip":
            site.flow.skip(rater.id, task, also)
            return RedirectResponse("/rate", 303)
        given = {int(k[1:]): int(v) for k, v in form.items() if k[:1] == "q"}
        outcome = site.flow.submit(rater.id, task, given, int(form.get("version", "")), also)
    except NotYours:
        raise _not_yours() from None
    except ValueError:
        raise RequestRefused(
            422, "Some answers are missing", "Nothing was saved. Please answer every question."
        ) from None
    if outcome == "conflict":
        return _task_page(site, visitor, rater, task, status=409)
    return RedirectResponse("/rate", 303)


@router.get("/classes")
def classes(request: Request, site: Here, q: str = "") -> Response:
    """The classes whose title has these words."""
    site.anyone(request)
    with site.store.read() as connection:
        found = matching(connection, q[:100])
    return JSONResponse([{"id": c, "title": title, "about": about} for c, title, about in found])


@router.post("/pause")
def pause(request: Request, site: Here, form: Form) -> Response:
    """Give the tasks back, so that nobody waits for them."""
    visitor, rater = site.rater(request)
    check_form(visitor, form)
    site.flow.pause(rater.id)
    return RedirectResponse("/paused", 303)


@router.get("/paused")
def paused(request: Request, site: Here) -> Response:
    """A rest; nothing is timed."""
    _, rater = site.rater(request)
    return _resting(site, rater, "paused")


@router.get("/image/{item}")
def image(request: Request, item: Number, site: Here, small: bool = False) -> Response:
    """An image of a task, or an example, by its number."""
    site.anyone(request)
    with site.store.read() as connection:
        name = item_name(connection, item)
    if name is None:
        raise HTTPException(404)
    try:
        picture = site.gallery.picture(name, thumb=small)
    except ImageError as error:
        site.flow.set_aside(item, str(error))
        raise HTTPException(404) from None
    keep = {"Cache-Control": "private, max-age=86400"}
    return Response(picture.data, media_type=picture.media_type, headers=keep)


def _task_page(
    site: Site,
    visitor: Visitor,
    rater: Rater,
    task: int,
    upcoming: int | None = None,
    status: int = 200,
) -> Response:
    with site.store.read() as connection:
        view = task_view(connection, rater.id, task)
        if view is None:
            raise _not_yours()
        done = counts(connection, rater.id)
        back = earlier(connection, rater.id, task if view.version else None)
    return page(
        "mistake" if site.store.settings.kind == "mistakes" else "labels",
        status,
        task=view,
        rater=rater,
        counts=done,
        back=back,
        upcoming=upcoming,
        form=visitor.form,
        conflict=status == 409,
    )


def _beside(site: Site, form: dict[str, str]) -> Beside:
    """What a form says beside the answers.

    Raises:
        RequestRefused: it names a class that is none.
        ValueError: it is damaged.
    """
    others = [int(c) for c in form.get("others", "").split(",") if c]
    with site.store.read() as connection:
        if site.store.settings.kind != "labels" and (others or form.get("other")):
            raise ValueError("mistakes are about one prediction")
        if name := form.get("other", "").strip():  # typed, without a script that looks it up
            known = called(connection, name)
            if known is None:
                raise RequestRefused(
                    422,
                    "There is no such class",
                    f"Nothing was saved: no class, or more than one, is called “{name[:80]}”. Go back and "
                    "type another name.",
                )
            others.append(known)
        if len(others) > OTHERS or not exist(connection, others):
            raise ValueError("no such classes")
    active = float(form.get("active") or "nan")
    return Beside(
        form.get("flag") == "on",
        form.get("comment", ""),
        tuple(dict.fromkeys(others)),
        None if isnan(active) else active,
    )


def _resting(site: Site, rater: Rater, template: str) -> Response:
    with site.store.read() as connection:
        return page(template, rater=rater, counts=counts(connection, rater.id))


def _not_yours() -> RequestRefused:
    return RequestRefused(
        403, "This task is not yours", "Nothing was saved. Go on with your own tasks."
    )
