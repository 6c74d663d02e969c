"""The owner's pages: progress, raters, tasks, exports."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from ..errors import UserError
from ..web.door import Number, RequestRefused
from ..web.security import same
from .adjudication import next_task, opened, rule
from .app_state import Form, Here, Site, Visitor, check_form
from .export import answers_csv, iso, ratings_csv, rulings_csv, verdicts_csv
from .label_studio_export import label_studio_json
from .overview import (
    FILTERS,
    missing_items,
    progress,
    rater_rows,
    task_rows,
    tasks_that_are,
)
from .pages import page
from .raters import add_raters, new_link, set_state
from .schema import RaterState

router = APIRouter()

_STATES: dict[str, RaterState] = {"admit": "active", "pause": "paused", "exclude": "excluded"}


@router.get("/o/{token}")
def open_link(request: Request, token: str, site: Here) -> Response:
    """The owner's link."""
    if not same(token, site.owner_token):
        raise site.door.guessed(request)
    return site.door.enter("owner", token, "/owner")


@router.get("/owner")
def overview(request: Request, site: Here) -> Response:
    """How far the work is."""
    return _overview(site, site.owner(request))


@router.get("/owner/tasks")
def tasks(request: Request, site: Here, show: str = "all", at: int = 1) -> Response:
    """All tasks, or those of one kind, page by page."""
    site.owner(request)
    if show not in FILTERS:
        raise HTTPException(404)
    rows, pages = task_rows(site.store, show, max(0, min(at, 10**6) - 1))
    return page(
        "tasks",
        rows=rows,
        show=show,
        filters=FILTERS,
        at=at,
        pages=pages,
        wanted=site.store.settings.wanted,
    )


@router.get("/owner/tasks/{task}")
def open_task(request: Request, task: Number, site: Here, show: str = "all") -> Response:
    """One task: the image, every answer, and the owner's word."""
    return _task(site, site.owner(request), task, show)


@router.post("/owner/tasks/{task}")
def adjudicate(request: Request, task: Number, site: Here, form: Form) -> Response:
    """Keep the owner's word on the questions of a task, and open the next one of the kind."""
    visitor = site.owner(request)
    check_form(visitor, form)
    show = form.get("show", "all")
    words = {key[1:]: value for key, value in form.items() if key[:1] == "q"}
    try:
        given = {int(q): int(value) if value else None for q, value in words.items()}
        rule(site.store, task, given, form.get("by", ""), time.time())
        site.last_ruler = form["by"].strip()
    except UserError as error:
        return _task(site, visitor, task, show, problem=str(error), status=422)
    except ValueError:
        raise RequestRefused(
            422, "This form is damaged", "Nothing was saved. Please load the page again."
        ) from None
    if form.get("do") == "next" and show in FILTERS:
        following = next_task(site.store, tasks_that_are(show), task)
        if following is None:
            return RedirectResponse(f"/owner/tasks?show={show}", 303)
        task = following
    return RedirectResponse(f"/owner/tasks/{task}?show={show}", 303)


@router.post("/owner/raters")
def add(request: Request, site: Here, form: Form) -> Response:
    """One more rater; the page that follows is the only one that shows the link."""
    visitor = site.owner(request)
    check_form(visitor, form)
    try:
        tokens = add_raters(site.store, [form.get("name", "")])
    except UserError as error:
        return _overview(site, visitor, problem=str(error), status=422)
    (name, token), *_ = tokens.items()
    return _overview(site, visitor, link=(name, f"{site.public}/r/{token}"))


@router.post("/owner/raters/{rater}")
def change(request: Request, rater: Number, site: Here, form: Form) -> Response:
    """Pause, exclude or admit a rater, or make a new link."""
    visitor = site.owner(request)
    check_form(visitor, form)
    name = next((row.name for row in rater_rows(site.store) if row.id == rater), None)
    action = form.get("action", "")
    if name is None or action not in (*_STATES, "link"):
        raise HTTPException(404)
    if action == "link":
        link = f"{site.public}/r/{new_link(site.store, rater)}"
        return _overview(site, visitor, link=(name, link))
    set_state(site.store, rater, _STATES[action], time.time())
    return RedirectResponse("/owner", 303)


@router.post("/owner/items")
def put_all_back(request: Request, site: Here, form: Form) -> Response:
    """Give out all tasks again whose image could not be shown."""
    visitor = site.owner(request)
    check_form(visitor, form)
    site.flow.put_back()
    return RedirectResponse("/owner", 303)


@router.post("/owner/items/{item}")
def put_back(request: Request, item: Number, site: Here, form: Form) -> Response:
    """Give out the tasks of an image again that could not be shown."""
    visitor = site.owner(request)
    check_form(visitor, form)
    site.flow.put_back(item)
    return RedirectResponse("/owner", 303)


Export = Literal[
    "ratings.csv",
    "crowd-kit.csv",
    "label-studio.json",
    "verdicts.csv",
    "rulings.csv",
    "answers.csv",
]


@router.get("/owner/export/{name}")
def export(request: Request, name: Export, site: Here, rater: int | None = None) -> Response:
    """All answers so far; *answers.csv* also those of one rater."""
    site.owner(request)
    try:
        if name == "answers.csv":
            text, kind = answers_csv(site.store, rater), "text/csv"
        elif name == "rulings.csv":
            text, kind = rulings_csv(site.store), "text/csv"
        elif name == "label-studio.json":
            text, kind = label_studio_json(site.store), "application/json"
        elif name == "verdicts.csv":
            text, kind = verdicts_csv(site.store), "text/csv"
        else:
            dialect: Literal["crowd-kit", "reteach"]
            dialect = "crowd-kit" if name == "crowd-kit.csv" else "reteach"
            text, kind = ratings_csv(site.store, dialect), "text/csv"
    except UserError as error:
        raise RequestRefused(404, "There is no such export", str(error)) from None
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=f"{kind}; charset=utf-8", headers=headers)


def _task(
    site: Site,
    visitor: Visitor,
    task: int,
    show: str,
    *,
    problem: str | None = None,
    status: int = 200,
) -> Response:
    found = opened(site.store, task)
    if found is None or show not in FILTERS:
        raise HTTPException(404)
    by = next((q.ruled_by for q in found.questions if q.ruled_by), site.last_ruler)
    return page(
        "adjudicate",
        status,
        task=found,
        show=show,
        following=next_task(site.store, tasks_that_are(show), task),
        kind=site.store.settings.kind,
        by=by,
        form=visitor.form,
        problem=problem,
        iso=iso,
    )


def _overview(
    site: Site,
    visitor: Visitor,
    *,
    link: tuple[str, str] | None = None,
    problem: str | None = None,
    status: int = 200,
) -> Response:
    return page(
        "owner",
        status,
        kind=site.store.settings.kind,
        where=site.store.where,
        wanted=site.store.settings.wanted,
        agree=site.store.settings.agree,
        progress=progress(site.store),
        raters=rater_rows(site.store),
        missing=missing_items(site.store),
        form=visitor.form,
        link=link,
        problem=problem,
        now=time.time(),
    )
