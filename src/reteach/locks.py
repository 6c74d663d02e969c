"""One writer to a folder: the next one is refused in one line, and a lock dies with its process.

The kernel holds the lock, so that nothing is left to clean up after a kill. The lock's file says who has it,
and goes with it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError
from .storage.lease import LOCK as _LOCK
from .storage.lease import lease

LOCK = _LOCK
"""The file in a folder that is being written; it counts as nothing where a folder must be empty."""

_PART = re.compile(r"\..+\.part\Z")

_OURS: set[str] = set()
"""The locks of this process, to which the kernel would give them once more."""
_GUARD = threading.Lock()


@contextmanager
def only_writer(
    folder: Path,
    *,
    worth: str = "*",
    otherwise: str = "use another --out",
    made: bool = False,
) -> Iterator[None]:
    """Be the only process that writes into a folder, which is made where there is none.

    An attempt that fails, however, leaves no name blocked: what it put into a folder that was empty goes
    again, unless there is something worth keeping among it; and so does an empty folder that was made here.

    Args:
        worth: a pattern of the files that are worth keeping.
        otherwise: what to do in place of waiting, for the error.
        made: the folder was made for this a moment ago.

    Raises:
        UserError: another process writes there, or nobody can.
    """
    with lease(folder, otherwise), _only_local_writer(folder, worth, otherwise, made):
        yield


@contextmanager
def _only_local_writer(folder: Path, worth: str, otherwise: str, made: bool) -> Iterator[None]:
    made = made or not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from None
    place = os.path.realpath(folder / LOCK)
    with _GUARD:
        if place in _OURS:
            raise UserError(f"{folder} is being written by this process: {otherwise}")
        _OURS.add(place)
    try:
        file = _taken(folder, place, otherwise)
        fresh = not entries(folder)
        try:
            yield
        except BaseException:
            if fresh and not any(entry.name != LOCK for entry in folder.glob(worth)):
                _clear(folder)
            raise
        finally:
            with suppress(OSError):  # while it is ours: nobody else has got it in between
                os.unlink(place)
            if file is not None:
                os.close(file)
    finally:
        with _GUARD:
            _OURS.discard(place)
        if made:
            with suppress(OSError):  # something stands in it
                folder.rmdir()


def numbered_folder(parent: Path, name: str) -> Path:
    """``name-1`` in ``parent``, or the next number that is free; made here, so that no two get the same.

    Raises:
        UserError: it cannot be made.
    """
    number = 1
    while True:
        folder = parent / f"{name}-{number}"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            number += 1
        except OSError as error:
            raise _cannot_write(folder, error) from None
        else:
            return folder


def entries(folder: Path) -> list[Path]:
    """What stands in a folder, but for its lock and what killed writers left half-written there; nothing
    where there is no folder."""
    if not folder.is_dir():
        return []
    return [
        entry for entry in folder.iterdir() if entry.name != LOCK and not _PART.match(entry.name)
    ]


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == LOCK:
            continue
        with suppress(OSError):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _taken(folder: Path, place: str, otherwise: str) -> int | None:
    """The lock's open file; None: this file system has no locks."""
    while True:
        try:
            file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise _cannot_write(folder, error) from None
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = os.pread(file, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise UserError(
                f"{folder} is being written by {holder}: wait until it has ended, or {otherwise}"
            ) from None
        except OSError as error:
            print(
                f"warning: {folder} cannot be locked ({os.strerror(error.errno or 0)}): see to it that no "
                "other process writes there",
                file=sys.stderr,
            )
            os.close(file)
            return None
        if _still_there(file, place):
            os.ftruncate(file, 0)
            with suppress(OSError):  # a full disk: then it has no name
                os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
            return file
        os.close(file)  # its last holder has just removed it


def _still_there(file: int, place: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(place))
    except FileNotFoundError:
        return False


def _cannot_write(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {folder}: {os.strerror(error.errno or 0)}; name another folder")
