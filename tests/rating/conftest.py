"""Every test of the store runs on SQLite and on a PostgreSQL that is started for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from postgres_kit import new_database

for package in ("sqlalchemy", "fastapi", "uvicorn", "jinja2"):
    pytest.importorskip(package, reason="the extra 'rating' is not installed")


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address for a new store, of both kinds."""
    if request.param == "sqlite":
        return str(tmp_path / "ratings.db")
    return new_database(request.getfixturevalue("postgres"))
