"""A web app of the package: its guard, its static files, and the pages that say no."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

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

    def no(request: Request, status: int, title: str, text: str) -> Response:
        if "application/json" in request.headers.get("accept", ""):  # a script asks, not a person
            return JSONResponse({"title": title, "text": text}, status)
        return pages.page("message", status, title=title, text=text)

    async def refused(request: Request, error: Any) -> Response:
        return no(request, error.status, error.title, error.text)

    async def unknown(request: Request, error: Any) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        return no(request, status, "There is nothing here", "Please check the address.")

    app.add_exception_handler(RequestRefused, refused)
    app.add_exception_handler(HTTPException, unknown)
    app.add_exception_handler(RequestValidationError, unknown)
    return app


def _static(pages: Pages) -> Any:
    def static(name: str) -> Response:
        """Style sheets, scripts and icons."""
        return pages.static(name)

    return static
