"""What a tar file holds and where, without unpacking it. Names in it are only ever compared."""

from __future__ import annotations

import os
import re
import tarfile
from dataclasses import dataclass
from typing import IO, final

from ..item_ids import item_id

_BLOCK = 512


@final
@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar: its bytes are ``size`` from ``offset``."""

    name: str
    offset: int
    size: int


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """Members that share a key: everything before the first dot of the file name."""

    key: str
    parts: dict[str, Member]
    """Extension in lower case (``jpg``, ``cls``, ``seg.png``) -> member."""


def scan(path: str) -> tuple[list[Member], str]:
    """All regular files of a tar in order, and why the list is incomplete (empty: it is whole)."""
    members: list[Member] = []
    try:
        with open(path, "rb") as file:
            return members, _scan(file, members)
    except OSError as error:
        return members, os.strerror(error.errno) if error.errno else str(error)


def _scan(file: IO[bytes], members: list[Member]) -> str:
    end = os.fstat(file.fileno()).st_size
    if end == 0:
        return "empty file (0 bytes)"
    if file.read(3) in (b"\x1f\x8b\x08", b"BZh", b"\xfd7z", b"(\xb5\x2f"):
        return "compressed: images cannot be read at random from it; unpack it to a plain .tar"
    file.seek(0)
    at = -1
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # or it keeps every header
                if info.offset <= at or info.size < 0:
                    return f"damaged header after byte {at}"
                at = info.offset
                if info.offset_data + info.size > end:
                    return f"truncated in member {item_id(info.name)[:100]!r}"
                if info.isreg() and not info.issparse():
                    members.append(Member(item_id(info.name), info.offset_data, info.size))
            at = tar.offset
    except Exception as error:  # hostile headers raise more than TarError
        return f"not a tar file, or damaged ({' '.join(str(error).split())[:100]})"
    # tarfile takes any broken header but the first for the end of the archive
    file.seek(at)
    block = file.read(_BLOCK)
    return f"damaged header at byte {at}" if block.strip(b"\0") else ""


_NAME = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)", re.DOTALL)


def samples(members: list[Member]) -> list[Sample]:
    """Members grouped as WebDataset does: neighbours with one key are one sample.

    Names like ``__meta__`` are not samples, nor are names without an extension.
    """
    found: list[Sample] = []
    for member in members:
        match = _NAME.fullmatch(member.name)
        if match is None or re.match(r"__[^/]*__($|/)", member.name):
            continue
        key, extension = match[1], match[2].lower()
        if not found or found[-1].key != key:
            found.append(Sample(key, {}))
        found[-1].parts.setdefault(extension, member)
    return found
