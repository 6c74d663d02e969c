"""Every command under every fault: equal result or one clear line, nothing half-written under a final name,
and the next attempt succeeds.

    RETEACH_FAULTS=all pytest tests/faults/test_commands.py
"""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reteach.cli import TABLE, main

from .commands import COMMANDS, ELSEWHERE, SERVES, SLOW, make_out, make_world, said

ALL = os.environ.get("RETEACH_FAULTS") == "all"
SHORT = {
    ("train softmax", "killed before the 5th rename"),
    ("train softmax", "disk full from the 6th file on"),
    ("embed", "killed after the 2nd rename"),
    ("score", "SIGTERM at the 2nd file"),
    ("predict", "Ctrl-C twice at the 1st file"),
    ("relabel hashtags", "disk full from the 1st file on"),
    ("convert", "killed before the 1st rename"),
    ("noise", "output below a file"),
    ("relabel tasks", "output below a file"),
    ("select", "output below a file"),
    ("partition", "SIGTERM at the 1st file"),
    ("dedup", "image deleted at the 1st file"),
    ("embed", "image changed at the 1st file"),
    ("partition", "the clock goes back"),
    ("relabel hashtags", "a disk with 4 kB left"),
    ("review, export", "killed before the 1st rename"),
    ("embed", "images changed between two runs"),
    ("train softmax", "images changed between two runs"),
}
"""What every change must pass; RETEACH_FAULTS=all is for the rest."""


def _at(number: int, what: Callable[[], None], of: str, before: bool = True) -> Callable[[], None]:
    """Do something at the n-th call of a function of ``os``, and at each one after it."""

    def arm() -> None:
        real, count = getattr(os, of), 0

        def counted(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if before and count >= number:
                what()
            found = real(*arguments)
            if not before and count >= number:
                what()
            return found

        setattr(os, of, counted)

    return arm


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _interrupt_twice() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)


def _clock_back() -> None:
    """An hour earlier at every look, as after a wrong clock has been set right."""
    real, count = time.time, 0

    def earlier() -> float:
        nonlocal count
        count += 1
        return real() - 3600.0 * count

    time.time = earlier


ONCE = {"relabel tasks", "transfer", "export"}
"""Commands that do not write over what they have finished."""
FAULTS: dict[str, Callable[[], None]] = {
    **{
        f"killed before the {n}{th} rename": _at(n, _die, "replace")
        for n, th in ((1, "st"), (2, "nd"), (5, "th"), (9, "th"))
    },
    **{
        f"killed after the {n}{th} rename": _at(n, _die, "replace", before=False)
        for n, th in ((1, "st"), (2, "nd"), (4, "th"))
    },
    **{
        f"disk full from the {n}{th} file on": _at(n, _full, "fsync")
        for n, th in ((1, "st"), (2, "nd"), (6, "th"))
    },
    **{
        f"SIGTERM at the {n}{th} file": _at(n, _terminate, "fsync")
        for n, th in ((1, "st"), (2, "nd"))
    },
    "Ctrl-C twice at the 1st file": _at(1, _interrupt_twice, "fsync"),
    "output below a file": lambda: None,
    "image deleted at the 1st file": lambda: None,
    "image changed at the 1st file": lambda: None,
    "images changed between two runs": lambda: None,
    "the clock goes back": _clock_back,
    "a disk with 4 kB left": lambda: None,
    "a disk with 40 kB left": lambda: None,
}
FEW = ("killed before the 2nd rename", "SIGTERM at the 2nd file", "output below a file")
"""Faults of a slow command."""


@contextmanager
def small_disk(place: Path) -> Iterator[Callable[[int | None], None]]:
    """A file system of its own at ``place``, and what sets how many bytes are left on it (None: many)."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "none", str(place)]
    if os.name != "posix" or shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")

    def left(count: int | None) -> None:
        disk = os.statvfs(place)
        used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        size = "1g" if count is None else str(used + count)
        subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)

    try:
        yield left
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world") / "w")


def _interrupt_when_it_serves(log: Path) -> None:
    """A second after it has said where it serves; on a busy machine that takes a while."""
    if b"http://" in log.read_bytes():
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))


def _in_a_process(words: list[str], arm: Callable[[], None], log: Path) -> tuple[int, str]:
    """How a command ends, and what it says on stderr; one that serves is interrupted."""

    def run() -> None:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        arm()
        if words[0] in SERVES:
            signal.signal(signal.SIGALRM, lambda *_: _interrupt_when_it_serves(log))
            signal.setitimer(signal.ITIMER_REAL, 1, 1)
        try:
            code = main(words)
        except SystemExit as error:
            code = int(error.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        sys.stderr.flush()
        os._exit(code)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(300)
    if process.is_alive():
        process.kill()
        raise AssertionError(f"{words} hangs")
    return process.exitcode or 0, log.read_text(errors="replace")


def _results(out: Path, patterns: tuple[str, ...]) -> dict[str, bytes]:
    files = [file for pattern in patterns for file in out.glob(pattern)]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


_UNDISTURBED: dict[str, dict[str, bytes]] = {}


def _undisturbed(name: str, world: Path, place: Path) -> dict[str, bytes]:
    if name not in _UNDISTURBED:
        words, patterns = COMMANDS[name]
        out = make_out(world, place)
        code, told = _in_a_process(said(words, world, out), lambda: None, place.with_suffix(".log"))
        assert code == 0, told
        _UNDISTURBED[name] = _results(out, patterns)
        assert all(any(out.glob(pattern)) for pattern in patterns)
    return _UNDISTURBED[name]


def test_every_command_is_in_the_table():
    words = {" ".join(text.split()[:2]) for text, _ in COMMANDS.values()}
    known = {name for name in TABLE if name in words or name in {w.split()[0] for w in words}}
    trained = {name for name in TABLE if name.startswith("train ")}
    assert known | trained | ELSEWHERE.keys() == TABLE.keys()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", COMMANDS)
def test_command_under_a_fault_ends_well_and_the_next_attempt_succeeds(
    name: str, fault: str, world: Path, tmp_path: Path
) -> None:
    if not ALL and (name, fault) not in SHORT:
        pytest.skip("RETEACH_FAULTS=all disturbs every command in every way")
    if name in SLOW and fault not in FEW:
        pytest.skip("a few faults are enough for a command that is others under one name")
    if fault.startswith("a disk with"):
        with small_disk(tmp_path / "disk") as left:
            _on_a_small_disk(name, world, tmp_path, int(fault.split()[3]) * 1000, left)
        return
    if fault == "images changed between two runs":
        _with_other_images(name, world, tmp_path)
        return
    words, patterns = COMMANDS[name]
    whole = _undisturbed(name, world, tmp_path / "whole")
    out = make_out(world, tmp_path / "out")
    line = said(words, world, out)
    arm = FAULTS[fault]
    if fault == "output below a file":
        if name in ("resume", "rate"):
            pytest.skip("it writes nowhere else")
        (tmp_path / "file").write_text("notes")
        line = said(words.replace("O/begun", "W/run"), world, tmp_path / "file")
    gone = world / "photos" / "03.png"
    kept = gone.read_bytes()
    if fault.startswith("image deleted"):
        arm = _at(1, lambda: gone.unlink(missing_ok=True), "fsync")
    if fault.startswith("image changed"):
        arm = _at(1, lambda: _overwrite(gone, kept), "fsync")
    try:
        code, told = _in_a_process(line, arm, tmp_path / "log")
    finally:
        gone.write_bytes(kept)
    assert "Traceback" not in told, told
    assert code in (0, 2, 130, -signal.SIGKILL), told
    if code == 2:
        assert told.strip().splitlines()[-1].startswith("reteach: "), told
        assert len(told.strip().splitlines()[-1]) < 600
    if fault == "output below a file":
        assert code == 2 or not patterns, told
        assert (tmp_path / "file").read_text() == "notes"
        return
    if not fault.startswith("image"):
        for file, data in _results(out, patterns).items():
            if file not in whole or data != whole[file]:
                assert name == "resume", f"{file} is half-written or another"
    if code != -signal.SIGKILL:
        assert not list(out.rglob("*.part")), told
    elif name in ONCE and whole and _results(out, patterns) == whole:
        return  # it was finished just before it was killed
    if fault.startswith("image"):
        return  # whether it was used before or after is the command's own affair
    if name in ONCE and code == 0:
        return
    _succeeds(name, line, out, whole, tmp_path / "again.log")


def _overwrite(image: Path, data: bytes) -> None:
    """Another picture under the same name."""
    Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_90).save(image)


def _with_other_images(name: str, world: Path, tmp_path: Path) -> None:
    """The command again after images were overwritten: one line, or what a first run makes of them."""
    words, patterns = COMMANDS[name]
    world = Path(shutil.copytree(world, tmp_path / "world"))
    out, fresh = (make_out(world, tmp_path / place) for place in ("out", "fresh"))
    log = tmp_path / "log"
    if name != "resume":  # that run has been begun before
        code, told = _in_a_process(said(words, world, out), lambda: None, log)
        assert code == 0, told
    _change_images(world)
    code, told = _in_a_process(said(words, world, out), lambda: None, log)
    assert "Traceback" not in told, told
    assert code in (0, 2), told
    assert not list(out.rglob("*.part")), told
    if code == 2:
        assert told.strip().splitlines()[-1].startswith("reteach: "), told
        return
    code, told = _in_a_process(said(words, world, fresh), lambda: None, log)
    assert code == 0, told
    assert _results(out, patterns) == _results(fresh, patterns)


def _change_images(world: Path) -> None:
    """Other pixels in one photo and in one image of an array, under the same names."""
    photo = world / "photos" / "03.png"
    _overwrite(photo, photo.read_bytes())
    with np.load(world / "grey.npz") as kept:
        arrays = dict(kept)
    arrays["images"][5] = 255 - arrays["images"][5]
    np.savez(world / "grey.npz", **arrays)


def _on_a_small_disk(
    name: str, world: Path, tmp_path: Path, size: int, left: Callable[[int | None], None]
) -> None:
    """The disk is full before the command is through, and has room when it is tried again."""
    words, patterns = COMMANDS[name]
    whole = _undisturbed(name, world, tmp_path / "whole")
    out = make_out(world, tmp_path / "disk" / "out")
    line = said(words, world, out)
    left(size)
    code, told = _in_a_process(line, lambda: None, tmp_path / "log")
    left(None)
    assert "Traceback" not in told, told
    assert code in (0, 2), told
    if code == 2:
        last = told.strip().splitlines()[-1]
        assert last.startswith("reteach: "), told
        assert "full" in last or "space" in last, last
    if name != "resume":
        for file, data in _results(out, patterns).items():
            assert data == whole.get(file), f"{file} is half-written or another"
    assert not list(out.rglob("*.part")), told
    if not (name in ONCE and code == 0):
        _succeeds(name, line, out, whole, tmp_path / "again.log")


def _succeeds(name: str, line: list[str], out: Path, whole: dict[str, bytes], log: Path) -> None:
    """The next attempt, with the bytes of the undisturbed run."""
    patterns = COMMANDS[name][1]
    code, told = _in_a_process(line, lambda: None, log)
    assert code == 0, told
    assert "Traceback" not in told, told
    again = _results(out, patterns)
    different = [file for file in whole.keys() | again.keys() if whole.get(file) != again.get(file)]
    assert not different
    assert not re.search("Traceback|Exception ignored", told)
