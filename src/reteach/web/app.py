"""A web app of the package: its guard, its static files, and the pages that say no."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from .door import RequestRefused
from .middleware import Guard
from .pages import Pages

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def new_app(title: str, public: str, pages: Pages, *routers: APIRouter) -> FastAPI:
    """An app that answers to its public name and to those of this machine alone."""
    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None)
    for router in routers:
        app.include_router(router)
    app.add_api_route("/static/{name}", _static(pages), methods=["GET"])
    app.add_middleware(Guard, hosts=LOOPBACK | {(urlsplit(public).hostname or "").lower()})

    async def refused(_: Any, error: Any) -> Response:
        return pages.page("message", error.status, title=error.title, text=error.text)

    async def unknown(_: Any, error: Any) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        text = "Please check the address."
        return pages.page("message", status, title="There is nothing here", text=text)

    app.add_exception_handler(RequestRefused, refused)
    app.add_exception_handler(HTTPException, unknown)
    app.add_exception_handler(RequestValidationError, unknown)
    return app


def _static(pages: Pages) -> Any:
    def static(name: str) -> Response:
        """Style sheets, scripts and icons."""
        return pages.static(name)

    return static
