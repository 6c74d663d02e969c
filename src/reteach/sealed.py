"""Files that carry a checksum: what is read back is what was written, or it is refused in one line.

The SHA-256 stands in the file itself, so that file and checksum are renamed into place as one and no
crash comes between them. Binary files (zip archives: snapshots, arrays) end in a line of 81 bytes that
their readers pass over; JSON ends in the entry ``reteach_sha256``. Files of earlier versions have neither:
the CRCs of their archives are checked, and it is said that there is nothing else to check.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import atomic_write, plain_json
from .structured import parse_json

_LINE = re.compile(rb"\nreteach sha256 ([0-9a-f]{64})\n")
_LENGTH = 81
_KEY = "reteach_sha256"
_ENTRY = re.compile(rb'"reteach_sha256": "([0-9a-f]{64})"\n?\}\Z')
# One flipped bit can hide the key or spoil the number, but not both.
_TRACES = re.compile(rb'reteach_sha256|"[0-9a-f]{64}"')
_BLOCK = 1 << 20


class Damaged(UserError):
    """A file is not what was written."""


def digest(path: Path, length: int | None = None) -> str:
    """SHA-256 of a file, or of its first ``length`` bytes, in hexadecimal digits."""
    found, left = hashlib.sha256(), os.path.getsize(path) if length is None else length
    with open(path, "rb", buffering=0) as file:
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            found.update(block)
            left -= len(block)
    return found.hexdigest()


def seal(path: Path) -> None:
    """Add the checksum to a finished zip archive, before it is renamed into its place."""
    line = f"\nreteach sha256 {digest(path)}\n".encode()
    with open(path, "ab") as file:
        file.write(line)


def check(path: Path, then: str) -> None:
    """Nothing, if a sealed archive is whole; one of an earlier version is named on stderr.

    Args:
        then: what to do about damage, for the error.

    Raises:
        Damaged: it is not what was written.
        OSError: it cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        file.seek(max(0, size - _LENGTH))
        tail = file.read()
    found = _LINE.fullmatch(tail)
    if found is not None:
        if digest(path, size - _LENGTH) != found[1].decode():
            raise damaged(path, then)
    elif tail[-22:-18] != b"PK\5\6" or not _sound(path):
        raise damaged(path, then)
    else:
        unsealed(path)


def damaged(path: Path, then: str) -> Damaged:
    """The error of a file that is not what was written."""
    return Damaged(f"{path} is damaged (it is not what was written): {then}")


def unsealed(path: Path) -> None:
    """Say that a file has no checksum."""
    print(
        f"warning: {path} has no checksum (an earlier version wrote it): not all damage can be noticed",
        file=sys.stderr,
    )


def _sound(path: Path) -> bool:
    """Whether all CRCs of a zip archive are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # damaged archives raise many kinds: NotImplementedError, struct.error …
        return False


def write_json(path: Path, value: dict[str, Any], indent: int | None = 1) -> None:
    """Write a dictionary as JSON with its checksum; see :func:`reteach.files.write_json`."""
    atomic_write(path, json_text(value, indent))


def json_text(value: dict[str, Any], indent: int | None = 1) -> str:
    """The text of :func:`write_json`."""
    text = plain_json({**value, _KEY: "0" * 64}, indent)
    found = hashlib.sha256(text.encode()).hexdigest()
    at = text.rindex("0" * 64)
    return f"{text[:at]}{found}{text[at + 64 :]}"


def read_json(path: Path, then: str, *, old: bool = True) -> dict[str, Any]:
    """What :func:`write_json` wrote.

    Args:
        then: what to do about damage, for the error.
        old: take a file without a checksum too, and say so on stderr.

    Raises:
        Damaged: it is not what was written.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    found = _ENTRY.search(data)
    if found is not None:
        open_text = data[: found.start(1)] + b"0" * 64 + data[found.end(1) :]
        if hashlib.sha256(open_text).hexdigest() != found[1].decode():
            raise damaged(path, then)
    elif not old or _TRACES.search(data):
        raise damaged(path, then)
    try:
        value = parse_json(data)
    except ValueError as error:
        raise Damaged(f"{path} is damaged ({error}): {then}") from None
    if not isinstance(value, dict):
        raise Damaged(f"{path} is damaged (no dictionary): {then}")
    if found is None:
        unsealed(path)
    value.pop(_KEY, None)
    return value
