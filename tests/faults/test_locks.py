"""One writer to a folder: the second is refused in one line that names the first, whose lock dies with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from reteach.errors import UserError
from reteach.locks import LOCK, entries, numbered_folder, only_writer


def _hold(folder: Path, held: Event) -> None:
    with only_writer(folder):
        (folder / "half").touch()
        held.set()
        signal.pause()


def _holder(folder: Path) -> multiprocessing.process.BaseProcess:
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=_hold, args=(folder, held), daemon=True)
    process.start()
    assert held.wait(20)
    return process


def test_second_writer_of_a_folder_is_refused_until_the_first_dies(tmp_path):
    folder = tmp_path / "run"
    first = _holder(folder)
    with pytest.raises(UserError) as refused, only_writer(folder):
        raise AssertionError("two write into one folder")
    assert f"is being written by process {first.pid} on {socket.gethostname()}" in str(
        refused.value
    )
    assert (folder / "half").exists(), "what the first wrote is not the second's to remove"
    first.kill()
    first.join()
    with only_writer(folder):  # the kernel has let it go
        assert [entry.name for entry in entries(folder)] == ["half"]
    assert not (folder / LOCK).exists()


def test_same_process_writes_a_folder_once_at_a_time(tmp_path):
    with (
        only_writer(tmp_path),
        pytest.raises(UserError, match="by this process"),
        only_writer(tmp_path / "." / ".." / tmp_path.name),
    ):
        raise AssertionError("two write into one folder")
    with only_writer(tmp_path):
        pass


def test_failed_attempt_leaves_no_folder_that_blocks_its_name(tmp_path):
    folder = tmp_path / "deep" / "run"

    def attempt(error: type[BaseException], *made: str) -> None:
        with only_writer(folder, worth="stages"):
            (folder / "config.yaml").touch()
            for name in made:
                (folder / name).mkdir()
            raise error

    with pytest.raises(ZeroDivisionError):
        attempt(ZeroDivisionError, "models")
    assert not folder.exists()
    with pytest.raises(KeyboardInterrupt):
        attempt(KeyboardInterrupt, "stages")
    assert sorted(entry.name for entry in folder.iterdir()) == ["config.yaml", "stages"]
    with pytest.raises(ZeroDivisionError), only_writer(folder, worth="other"):
        raise ZeroDivisionError
    assert (folder / "stages").exists(), "it was there before"


def test_what_a_killed_writer_left_half_written_does_not_block_a_name(tmp_path):
    (tmp_path / ".config.yaml.host-1-0123abcd.part").touch()
    assert entries(tmp_path) == []
    (tmp_path / "notes.part").touch()
    assert [entry.name for entry in entries(tmp_path)] == ["notes.part"]


def test_numbered_folders_are_each_made_once(tmp_path):
    made = [numbered_folder(tmp_path / "runs", "mile").name for _ in range(3)]
    assert made == ["mile-1", "mile-2", "mile-3"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_cannot_be_written_is_one_line(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="cannot write"), only_writer(tmp_path / "run"):
        pass


def test_file_in_place_of_a_folder_is_one_line(tmp_path):
    (tmp_path / "run").write_text("notes")
    with pytest.raises(UserError, match=r"cannot write .*run"), only_writer(tmp_path / "run" / "x"):
        pass
    with pytest.raises(UserError, match=r"cannot write .*run"), only_writer(tmp_path / "run"):
        pass
