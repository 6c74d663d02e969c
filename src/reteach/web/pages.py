"""HTML pages from templates; everything that is put into them is escaped."""

from __future__ import annotations

import hashlib
from functools import cached_property
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from ..formatting import whole_percent
from ..report.kit.html import clean

HERE = "reteach.web"
SAME_FILE = "private, max-age=31536000, immutable"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Pages:
    """The templates and static files of one package, over those that all servers share."""

    def __init__(self, package: str) -> None:
        self.packages = (package, HERE)

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page. Templates see only ``values``."""
        return HTMLResponse(
            self._environment.get_template(f"{template}.html").render(values), status
        )

    def asset(self, name: str) -> tuple[bytes, str] | None:
        """A static file and its media type; None if there is none of this name."""
        return self._assets.get(name)

    def static(self, name: str) -> Response:
        """The answer to a request for a static file."""
        found = self.asset(name)
        if found is None:
            raise HTTPException(404)
        return Response(found[0], media_type=found[1], headers={"Cache-Control": SAME_FILE})

    @cached_property
    def _assets(self) -> dict[str, tuple[bytes, str]]:
        folders = [files(package).joinpath("static") for package in reversed(self.packages)]
        entries = (entry for folder in folders for entry in folder.iterdir() if entry.is_file())
        return {
            entry.name: (entry.read_bytes(), _TYPES[entry.name[entry.name.rindex(".") :]])
            for entry in entries
        }

    @cached_property
    def _environment(self) -> Environment:
        environment = Environment(
            loader=ChoiceLoader([PackageLoader(package) for package in self.packages]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_printable,
        )
        environment.globals["static"] = self._address
        environment.filters |= {"seconds": _seconds, "percent": _percent, "number": "{:,}".format}
        return environment

    def _address(self, name: str) -> str:
        """Where a static file is; it changes with the file, so that browsers may keep it."""
        return f"/static/{name}?{hashlib.sha256(self._assets[name][0]).hexdigest()[:12]}"


def _printable(value: Any) -> Any:
    """Names come from anywhere: no controls, and no marks that turn the direction of text."""
    return clean(value) if type(value) is str else value


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 99.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def _percent(value: float | None) -> str:
    return "–" if value is None else whole_percent(value)
