"""The page around the sections: head, contents, style sheet and script, all in one file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import final

from ... import __version__
from ...files import atomic_write
from ...storage import shown
from .blocks import panels
from .html import Child, Html, join, tag


@final
@dataclass(frozen=True)
class Section:
    """A part of a page: its anchor, title, one sentence of explanation, and content."""

    anchor: str
    title: str
    lead: Child
    body: Child


def document(title: str, header: Child, sections: Sequence[Section | None], footer: Child) -> str:
    """A whole HTML document; sections that are None are left out."""
    present = [section for section in sections if section is not None]
    style, script = _asset("style.css"), _asset("script.js")
    return "<!doctype html>\n" + tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy(script)),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("meta", name="referrer", content="no-referrer"),
            tag("title", title),
            tag("style", Html(style)),
        ),
        tag(
            "body",
            tag("a", "Skip to the content", href="#content", class_="skip"),
            tag("header", header, class_="top"),
            tag(
                "div",
                tag(
                    "nav",
                    tag("ol", [tag("li", tag("a", s.title, href=f"#{s.anchor}")) for s in present]),
                    aria_label="Contents",
                ),
                tag("main", [_section(s) for s in present], id="content"),
                class_="columns",
            ),
            tag("footer", footer),
            tag("script", Html(script)),
        ),
        lang="en",
    )


def write_page(path: Path, title: str, header: Child, sections: Sequence[Section | None]) -> None:
    """Write a document; see :func:`document`."""
    atomic_write(path, shown(document(title, header, sections, footer(__version__))))


def top(command: str, title: Child, *more: Child) -> Html:
    """The head of a page: what made it, its title, and more."""
    return join(tag("p", f"reteach {command}", class_="eyebrow"), tag("h1", title), *more)


def panels_section(anchor: str, title: str, lead: Child, charts: Sequence[Html]) -> Section | None:
    """A section of charts side by side; None without any."""
    return Section(anchor, title, lead, panels(charts)) if charts else None


def policy(script: str) -> str:
    """The content security policy: nothing from anywhere, and this one script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def footer(version: str) -> Html:
    """Where the page comes from."""
    return join(
        tag("p", f"Made by reteach {version}".strip(), ": teach, predict, relabel, teach again."),
        tag("p", "This file needs no network. It can be mailed, printed and kept."),
    )


def _section(section: Section) -> Html:
    return tag(
        "section",
        tag("h2", section.title, id=section.anchor),
        tag("p", section.lead, class_="lead") if section.lead else None,
        section.body,
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
