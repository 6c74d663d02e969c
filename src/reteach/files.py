"""Files that are whole or absent: written beside and renamed, so that a crash leaves the old one."""

from __future__ import annotations

import errno
import glob
import json
import math
import os
import re
import secrets
import shutil
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from . import storage
from .errors import DiskFull, UserError, closest
from .storage import view

_PART = re.compile(r"\.(?P<host>[A-Za-z0-9-]{1,24})-(?P<pid>\d+)-[0-9a-f]{8}\.part\Z")
_ABANDONED = 24 * 3600.0
"""Seconds after which a half-written file of another machine counts as left behind."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and renamed to ``path``.

    A path in the scratch folder stands for an object, which is put before.

    A full disk becomes a :class:`UserError`; whatever stood at ``path`` is then untouched. No two writers
    share a temporary path, be they on two machines with one folder.
    """
    path = Path(path)
    written = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    part = path.with_name(f".{_short(path.name)}.{written}.part")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            view.publish(path, part)
            os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A full disk, or a place that cannot be written, as the error of a user.

    Args:
        path: what is being written.

    Raises:
        UserError: it cannot be.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if out_of_space(error):
            raise DiskFull(
                f"disk full while writing {path}: free some space, then run the same again"
            ) from None
        if isinstance(error, OSError) and error.errno in _CANNOT:
            raise UserError(f"cannot write {path}: {os.strerror(error.errno)}") from None
        raise


_CANNOT = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.EFBIG, errno.EIO, errno.ESTALE),
}


def make_folder(path: Path) -> None:
    """A folder, with those above it.

    Raises:
        UserError: it cannot be made.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that is whole or absent: made under another name, and renamed at the end.

    Raises:
        UserError: there is something in ``out`` already, or it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already: name a new folder with --out")
    view.refuse_taken(out)
    part = out.with_name(f".{out.name[:100]}.{os.getpid()}.part")
    make_folder(part)
    try:
        with writing(out):
            yield part
            if out.is_dir():
                out.rmdir()
            view.publish_folder(out, part)
            os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def out_of_space(error: BaseException) -> bool:
    """Whether a full disk is behind an error: torch, safetensors and SQLite have kinds of their own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if _FULL.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


LEAST = 1 << 16
"""Bytes that a database needs beside its file before it can be opened."""
_FULL = re.compile("no space left on device|disk quota exceeded|disk is full", re.IGNORECASE)


def no_room(path: Path) -> bool:
    """Whether the disk of a file that is there is full."""
    return path.exists() and shutil.disk_usage(path.absolute().parent).free < LEAST


def _short(name: str) -> str:
    """A name that leaves room for the rest of a temporary file's: most file systems allow 255 bytes."""
    data = name.encode(errors="surrogateescape")
    return name if len(data) <= 150 else f"{zlib.crc32(data):08x}"


def remove_parts(folder: Path, name: str | None = None) -> None:
    """Delete what killed writers of ``name`` (None: of anything) left half-written in ``folder``, and nothing
    that is still being written: by a process that lives, or on another machine within a day."""
    of = "*" if name is None else glob.escape(_short(name))
    for part in folder.glob(f".{of}.*.part"):
        with suppress(OSError):
            if _left_behind(part):
                part.unlink()


def _left_behind(part: Path) -> bool:
    writer = _PART.search(part.name)
    if writer is None or writer["host"] != _host():
        return time.time() - part.stat().st_mtime > _ABANDONED
    try:
        os.kill(int(writer["pid"]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:24] or "host"


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write JSON that any reader takes: numbers that are not finite become null."""
    atomic_write(path, plain_json(value, indent))


def plain_json(value: Any, indent: int | None = 1) -> str:
    """The text of :func:`write_json`."""
    return storage.shown(json.dumps(_finite(value), indent=indent, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write ``data`` to ``path`` as one whole: readers see the old file or the new one."""
    with atomic_path(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def local(path: Path, flag: str) -> None:
    """Refuse an address that nothing opens: ``hdfs://host`` would become the local folder ``hdfs:``.

    Raises:
        UserError: it is no path and none of an object store, or holds a password.
    """
    storage.refuse_unknown(path, flag)


def refuse_missing_images(where: str) -> None:
    """Refuse a folder or an .npz file of images that is not there, before anything is opened.

    Raises:
        UserError: it does not exist; names what its folder holds of similar name.
    """
    if storage.address(where) is not None:
        return  # whoever opens it asks the store
    known = where.startswith(("hf:", "cifar:", "python:"))
    remote = known or where.lower().endswith((".tar", ".tar}"))
    if remote or os.path.exists(where):
        return
    file = where.lower().endswith(".npz")
    raise UserError(missing(Path(where) if file else where, "" if file else "folder"))


Named = TypeVar("Named", bound=str | Path)


def at_home(path: Named) -> Named:
    """A path with a home folder in the place of its ``~``: shells leave it in ``--labels=~/labels.csv``.

    Raises:
        UserError: nobody has that home folder.
    """
    text = str(path)
    if not text.startswith("~"):
        return path
    found = os.path.abspath(text) if os.path.lexists(text) else os.path.expanduser(text)
    if found == text:
        who = text.partition("/")[0]
        raise UserError(
            f"{text}: there is no home folder {who}; write ./{text} if that is its name"
        )
    return type(path)(found)


def missing(path: str | Path, what: str = "") -> str:
    """What is said of a local path that does not exist, with the names nearest to it where it would be.

    Args:
        path: as it was given.
        what: it is called.
    """
    gone = Path(path)
    while gone.parent != gone and not os.path.exists(gone.parent):
        gone = gone.parent  # the folder is what was mistyped
    ending = gone.suffix.lower()
    names = sorted(names_in(gone.parent), key=lambda name: not name.lower().endswith(ending))
    hint = closest(gone.name, names[:_COMPARED])
    return f"{f'{what} {path}'.strip()} does not exist{hint}"


_COMPARED = 1_000
"""Names that are held against a mistyped one, those of its ending first: 30 ms at most."""


def names_in(folder: Path, most: int = 10_000) -> list[str]:
    """Some names in a folder; none if it cannot be listed, which opening it will report."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, most)]
    except OSError:
        return []
