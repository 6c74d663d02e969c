"""Item ids are text; file names are bytes. A name that is not UTF-8 still gets an id, and back."""

from __future__ import annotations

import re

_ESCAPED = re.compile(r"\\udc([89a-f][0-9a-f])")


def item_id(name: str) -> str:
    r"""A file name as Python gives it -> valid Unicode text.

    Bytes that are not UTF-8, which Python keeps as lone surrogates, are spelt out: ``caf\udce9.jpg``.
    """
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def file_name(item: str) -> str:
    """The inverse of :func:`item_id` for names that it changed."""
    return _ESCAPED.sub(lambda match: chr(0xDC00 + int(match[1], 16)), item)


def is_escaped(item: str) -> bool:
    """Whether the id may stand for a name that is not UTF-8."""
    return _ESCAPED.search(item) is not None
