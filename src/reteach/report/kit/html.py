"""HTML from nested calls, escaped unless it is already HTML: ``tag("b", "<name>")`` is safe."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias, final


@final
class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "Html | str | int | Iterable[Child] | None"

_VOID = {"br", "col", "hr", "img", "input", "meta"}
# what no text may contain: controls (but tab and newline), lone surrogates, and the marks that
# turn the direction of the text around them
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)


def clean(text: str) -> str:
    """Text that every XML and HTML parser takes and that stays where it is put."""
    return _UNPRINTABLE.sub("\ufffd", text)


def escape(text: str) -> Html:
    """Text as HTML, also inside quoted attributes."""
    return Html(html.escape(clean(text), quote=True))


def join(*children: Child) -> Html:
    """Children one after the other; None is nothing, strings are escaped."""
    return Html("".join(_render(child) for child in children))


def tag(name: str, /, *children: Child, **attributes: str | int | bool | None) -> Html:
    """An element. ``class_`` and ``for_`` lose their underscore, ``data_x`` becomes ``data-x``.

    An attribute that is True stands alone; one that is None or False is left out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{escape(str(value))}"')
    start = f"<{' '.join(words)}>"
    return Html(start if name in _VOID else f"{start}{join(*children)}</{name}>")


def _render(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return escape(child)
    if isinstance(child, Iterable):
        return "".join(_render(each) for each in child)
    return str(child)
