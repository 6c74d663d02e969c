"""Results and their pages in a notebook: a cell whose value they are shows them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import final

from .errors import UserError

HEIGHT = 600
"""Of the frame, in pixels."""


@final
@dataclass(frozen=True)
class InlinePage:
    """An HTML file that a notebook shows where it is the value of a cell.

    Args:
        path: the file.
    """

    path: Path

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def html(self) -> str:
        """The page itself.

        Raises:
            UserError: the file is gone.
        """
        try:
            return self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}") from None

    def _repr_html_(self) -> str:
        """A frame without scripts of the notebook: the page brings its own style, and keeps it."""
        return (
            f'<iframe srcdoc="{escape(self.html(), quote=True)}" width="100%" height="{HEIGHT}" '
            'style="border: 1px solid #ccc" sandbox="allow-scripts allow-popups"></iframe>'
        )


class InNotebook:
    """A result that a notebook shows: its lines, and its page where it has one, both from ``lines`` and
    ``report``."""

    def lines(self) -> Iterator[str]:
        """What the command line prints, line by line."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        said = f"<pre>{escape(chr(10).join(self.lines()))}</pre>"
        page = getattr(self, "report", None)
        if isinstance(page, Path) and page.suffix == ".html" and page.is_file():
            return said + InlinePage(page)._repr_html_()
        return said
