"""A store of this machine for the tests of this folder, its bucket empty before each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback_s3 import Store, serving

BUCKET = "bucket"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The server; skips where its packages are absent."""
    for package in ("moto", "s3fs"):
        pytest.importorskip(package, reason="pip install 'moto[server]' s3fs")
    with serving(tmp_path_factory.mktemp("server") / "faults") as store:
        store.client().create_bucket(Bucket=BUCKET)
        yield store


@pytest.fixture
def store(server: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    """The server with an empty bucket and no faults, named by the environment; an own scratch folder."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RETEACH_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("reteach.storage.objects.FIRST_PAUSE", 0.01)
    _empty(server)
    yield server
    server.fail(0)


def _empty(server: Store) -> None:
    for name in server.names(BUCKET):
        server.client().delete_object(Bucket=BUCKET, Key=name)
