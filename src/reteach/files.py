"""Files that are whole or absent: written beside and renamed, so that a crash leaves the old one."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import UserError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=.)")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and renamed to ``path``.

    A full disk becomes a :class:`UserError`; whatever stood at ``path`` is then untouched.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"disk full while writing {path}: free some space and resume") from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise UserError(f"cannot write {path}: {os.strerror(error.errno)}") from None
        raise
    finally:
        with suppress(OSError):
            part.unlink()


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write JSON that any reader takes: numbers that are not finite become null."""
    atomic_write(path, json.dumps(_finite(value), indent=indent, allow_nan=False))


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
    """Refuse an address in place of a path: ``s3://bucket`` would become the local folder ``s3:``.

    Raises:
        UserError: it begins like ``s3://``.
    """
    address = _ADDRESS.match(str(path))
    if address is not None:
        rest = str(path)[address.end() :]
        raise UserError(
            f"{flag} {address[1]}://{rest}: files are read and written on local or mounted file systems "
            "only; give a path there, and copy or mount what is elsewhere"
        )
