"""Raters and their answers: the store, the web pages, what goes in and out.

The packages of the extra ``rating`` are needed from here on.
"""

from importlib.util import find_spec

from ..errors import missing_extra

for _package in ("sqlalchemy", "fastapi", "uvicorn", "jinja2"):
    if find_spec(_package) is None:
        raise missing_extra("rating", _package, "rating")
