"""One look (colour and dashes) for a name, everywhere on a page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final


@final
class Looks:
    """Hands out looks in the order in which names are first asked for."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._known: dict[str, int] = {}
        for name in names:
            self(name)

    def __call__(self, name: str) -> int:
        return self._known.setdefault(name, len(self._known))

    def of(self, names: Iterable[str]) -> list[tuple[str, int]]:
        """Names with their looks, for a legend."""
        return [(name, self(name)) for name in dict.fromkeys(names)]
