"""HTML pages from templates; everything that is put into them is escaped."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from ..formatting import whole_percent
from ..report.kit.html import clean

STATIC = files(__package__).joinpath("static")
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page. Templates see only ``values``."""
    return HTMLResponse(_environment().get_template(f"{template}.html").render(values), status)


@cache
def asset(name: str) -> tuple[bytes, str] | None:
    """A static file and its media type; None if there is none of this name."""
    known = {entry.name: entry for entry in STATIC.iterdir() if entry.is_file()}
    if name not in known:
        return None
    return known[name].read_bytes(), _TYPES[name[name.rindex(".") :]]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reteach.rating"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.globals["static"] = _static
    environment.filters |= {"seconds": _seconds, "percent": _percent, "number": "{:,}".format}
    return environment


def _printable(value: Any) -> Any:
    """Names come from anywhere: no controls, and no marks that turn the direction of text."""
    return clean(value) if type(value) is str else value


@cache
def _static(name: str) -> str:
    """The address of a static file; it changes with the file, so that browsers may keep it."""
    found = asset(name)
    assert found is not None, name
    return f"/static/{name}?{hashlib.sha256(found[0]).hexdigest()[:12]}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 99.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def _percent(value: float | None) -> str:
    return "–" if value is None else whole_percent(value)
