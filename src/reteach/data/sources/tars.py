"""What a tar file holds and where, without unpacking it. Names in it are only ever compared."""

from __future__ import annotations

import mmap
import os
import re
import tarfile
from dataclasses import dataclass
from typing import IO, final

import numpy as np

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
    if (plain := plain_members(file)) is not None:
        members += plain
        return ""
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


_REGULAR = frozenset(b"0\0")
_HARMLESS = frozenset(
    {b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname", b"comment"}
)
"""Records of an extended header that say nothing of the name, the place or the size of what follows."""
_RECORD = re.compile(rb"([1-9]\d{0,8}) ([^=]+)=")
_DIGITS = slice(148, 154)
"""Where a header has the six octal digits of its checksum, NUL behind them."""


def plain_members(file: IO[bytes]) -> list[Member] | None:
    """All members of a whole tar of regular files with short ASCII names; None: something else is in it.

    Those are nearly all shards. The standard library takes ten times as long, and reads the others.
    """
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _plain(content)
    except (OSError, ValueError):  # it cannot be mapped, or a number is none
        return None


def _plain(content: mmap.mmap) -> list[Member] | None:
    members: list[Member] = []
    heads: list[int] = []
    at, end = 0, len(content)
    while True:
        head = content[at : at + _BLOCK]
        if len(head) < _BLOCK:
            return None
        if not head[0]:
            break
        size, data = int(head[124:135], 8), at + _BLOCK
        if head[257:262] != b"ustar" or head[345] or size < 0 or data + size > end:
            return None
        heads.append(at)
        if head[156] in _REGULAR:
            name = head[:100].partition(b"\0")[0]
            if not name.isascii() or name.endswith(b"/"):
                return None
            members.append(Member(name.decode(), data, size))
        elif head[156] != 0x78 or not _harmless(content[data : data + size]):
            return None
        at = data + (size + _BLOCK - 1) // _BLOCK * _BLOCK
    return members if not head.strip(b"\0") and _sums_are_right(content, heads) else None


def _harmless(records: bytes) -> bool:
    at = 0
    while at < len(records):
        match = _RECORD.match(records, at)
        if match is None or match[2] not in _HARMLESS:
            return False
        at += int(match[1])
    return at == len(records)


def _sums_are_right(content: mmap.mmap, heads: list[int]) -> bool:
    blocks = np.frombuffer(content, np.uint8, len(content) // _BLOCK * _BLOCK).reshape(-1, _BLOCK)
    found = blocks[np.array(heads, np.int64) // _BLOCK].astype(np.int32)
    digits = found[:, _DIGITS] - 0x30
    said = digits @ (8 ** np.arange(5, -1, -1))
    found[:, 148:156] = 0x20
    usual = ((digits >= 0) & (digits < 8)).all(1)
    del blocks  # the file cannot be unmapped while it is looked at
    return bool((usual & (found.sum(1) == said)).all())


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
