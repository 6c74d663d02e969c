"""A private PostgreSQL, started for the tests that need one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


@contextmanager
def private_postgres() -> Iterator[str]:
    """The address of a private PostgreSQL on a Unix socket, without a database name."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    programs = _programs()
    if programs is None or not (programs / "postgres").exists():
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: socket paths have few characters
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to be root
        user = "postgres"
        try:
            shutil.chown(folder, user)
        except LookupError:
            pytest.skip("running as root, and there is no user 'postgres' to run PostgreSQL as")
    data = folder / "data"
    subprocess.run(
        [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "reteach",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        user=user,
        cwd=folder,
    )
    options = ["-k", str(folder), "-c", "listen_addresses=", "-F"]
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, *options],
        stderr=subprocess.DEVNULL,
        user=user,
        cwd=folder,
    )
    try:
        for _ in range(200):
            try:
                psycopg.connect(f"user=reteach dbname=postgres host={folder}").close()
                break
            except psycopg.OperationalError:
                assert server.poll() is None
                time.sleep(0.05)
        yield f"postgresql://reteach@/{{}}?host={folder}"
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


_numbers = count()


def new_database(postgres: str) -> str:
    """The address of an empty database."""
    import psycopg

    name = f"ratings{next(_numbers)}"
    with psycopg.connect(postgres.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.format(name)
