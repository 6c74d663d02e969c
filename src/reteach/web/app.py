"""A web app of the package: its guard, its static files, and the pages that say no."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from ..errors import DiskFull, StoreFailed
from .door import RequestRefused
from .middleware import Guard
from .pages import Pages

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
FULL = "The disk of the server is full"
NOT_SAVED = "Nothing of this page was saved. Please tell the owner, and send it again later."


def new_app(title: str, public: str, pages: Pages, *routers: APIRouter) -> FastAPI:
    """An app that answers to its public name and to those of this machine alone."""
    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None)
    for router in routers:
        app.include_router(router)
    app.add_api_route("/static/{name}", _static(pages), methods=["GET"])
    app.add_middleware(Guard, hosts=LOOPBACK | {(urlsplit(public).hostname or "").lower()})

    def no(request: Request, status: int, title: str, text: str) -> Response:
        if "application/json" in request.headers.get("accept", ""):  # a script asks, not a person
            return JSONResponse({"title": title, "text": text}, status)
        return pages.page("message", status, title=title, text=text)

    async def refused(request: Request, error: Any) -> Response:
        return no(request, error.status, error.title, error.text)

    async def unknown(request: Request, error: Any) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        return no(request, status, "There is nothing here", "Please check the address.")

    async def failed(request: Request, error: Any) -> Response:
        """Nothing was stored; whoever runs the server reads why in the log."""
        logging.getLogger("uvicorn.error").error("%s", error)
        status, title = (507, FULL) if _full(error) else (503, "The answers cannot be reached")
        return no(request, status, title, NOT_SAVED)

    app.add_exception_handler(StoreFailed, failed)
    app.add_exception_handler(DiskFull, failed)
    app.add_exception_handler(RequestRefused, refused)
    app.add_exception_handler(HTTPException, unknown)
    app.add_exception_handler(RequestValidationError, unknown)
    return app


def _full(error: DiskFull | StoreFailed) -> bool:
    return isinstance(error, DiskFull) or error.full


def _static(pages: Pages) -> Any:
    def static(name: str) -> Response:
        """Style sheets, scripts and icons."""
        return pages.static(name)

    return static
