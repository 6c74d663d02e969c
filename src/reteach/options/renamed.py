"""Settings that had another name in the last release: still understood, with a line that says so."""

from __future__ import annotations

from typing import Any

from ..progress import note

RENAMED = {
    "train mile": {"lesson": "targets", "judged": "evaluated_model"},
    "advise": {"small": "probe_model", "several": "multi_label"},
    "calibrate": {"borrow": "prior_strength"},
    "select": {"page": "report"},
    "dedup": {"page": "report"},
}
"""Command -> old name -> new name."""


def current(command: str, name: str) -> str:
    """The present name of a command's setting, underscores and all; an old one is pointed out."""
    new = RENAMED.get(command, {}).get(name)
    if new is None:
        return name
    note(f"{_flag(name)} is now called {_flag(new)}; the old name goes with the next release")
    return new


def current_flags(command: str, words: list[str]) -> list[str]:
    """The words of a command line, old flags in their new spelling."""
    return [_current_word(command, word) if word.startswith("--") else word for word in words]


def current_names(command: str, values: dict[str, Any]) -> dict[str, Any]:
    """Settings by their present names, as :func:`current` has them; nothing is said."""
    renamed = RENAMED.get(command, {})
    return {renamed.get(name, name): value for name, value in values.items()}


def _current_word(command: str, word: str) -> str:
    flag, equals, value = word.partition("=")
    old = flag[2:].replace("-", "_")
    new = current(command, old)
    return word if new == old else f"{_flag(new)}{equals}{value}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
