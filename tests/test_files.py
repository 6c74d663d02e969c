"""Files that are whole or absent, on one machine or on several with one folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from reteach import files
from reteach.errors import UserError
from reteach.files import local


def test_two_machines_that_share_a_folder_and_a_process_number_do_not_collide(
    tmp_path, monkeypatch
):
    with ExitStack() as writing:
        parts = []
        for host in ("one", "two", "two"):
            monkeypatch.setattr(files.socket, "gethostname", lambda host=host: host)
            parts.append(writing.enter_context(files.atomic_path(tmp_path / "table")))
            parts[-1].write_text(host)
        assert len(set(parts)) == 3
        assert [part.read_text() for part in parts] == ["one", "two", "two"]
    assert [file.name for file in tmp_path.iterdir()] == ["table"]


def test_only_what_nobody_writes_any_more_is_removed(tmp_path, monkeypatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    monkeypatch.setattr(files.socket, "gethostname", lambda: "here.example")
    names = {
        "gone": f".a.here-example-{dead.pid}-00000000.part",
        "alive": f".a.here-example-{os.getpid()}-00000000.part",
        "elsewhere": f".a.there-{dead.pid}-00000000.part",
        "elsewhere, old": f".a.there-{dead.pid}-11111111.part",
        "earlier version, old": f".a.{dead.pid}.part",
        "of another file": f".b.here-example-{dead.pid}-00000000.part",
    }
    for name, file in names.items():
        (tmp_path / file).write_text("half")
        if "old" in name:
            os.utime(tmp_path / file, (time.time() - 2 * 86400,) * 2)
    files.remove_parts(tmp_path, "a")
    left = {name for name, file in names.items() if (tmp_path / file).exists()}
    assert left == {"alive", "elsewhere", "of another file"}


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    files.atomic_write(tmp_path / "a", "old")
    with pytest.raises(TypeError):
        files.atomic_write(tmp_path / "a", None)  # type: ignore[arg-type]
    assert (tmp_path / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("address", ["hdfs://host/x", "https://host/x"])
def test_an_address_is_quoted_as_it_was_written(address: str) -> None:
    with pytest.raises(UserError, match=f"^--out {address}: "):
        local(Path(address), "--out")
