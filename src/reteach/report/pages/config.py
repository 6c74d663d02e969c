"""A run's configuration on the page, and the commands that go on with it or do it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...formatting import DASH
from ..kit.blocks import terms
from ..kit.html import Html, tag

_ELSEWHERE = "output"
"""The group of settings that changes no number; the command names another folder instead."""

_WIDTH = 84
"""Characters per line of a command."""


def nested(config: dict[str, Any]) -> Html:
    """Settings as lists, a list per group."""
    plain = {k: v for k, v in config.items() if not isinstance(v, dict)}
    groups = {k: v for k, v in config.items() if isinstance(v, dict) and v}
    lists = [("", plain), *groups.items()] if plain else list(groups.items())
    return tag(
        "div",
        [
            tag(
                "div",
                tag("h3", name) if name else None,
                terms(((key, text(value)) for key, value in flat(settings)), value="name"),
            )
            for name, settings in lists
        ],
        class_="settings",
    )


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of all settings, those of inner groups as "group.name"."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def text(value: Any) -> str:
    """A setting's value as one writes it."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value)) or DASH
    return str(value)


def commands(folder: Path, status: str, config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(what it does, command) for this run."""
    place = shlex.quote(str(folder))
    if status not in ("finished", "collapsed"):
        yield "Go on from the last snapshot:", f"reteach resume {place}"
    again = _again(config)
    if again:
        yield "The same run from the beginning, in another folder:", again
    if status == "finished":
        yield (
            "Judge the model on other images, and use it:",
            (
                f"reteach evaluate {place} --images FOLDER --labels TABLE\n"
                f"reteach predict {place} --images FOLDER --out labels.parquet"
            ),
        )


def _again(config: dict[str, Any]) -> str | None:
    """The training as one explicit command; None if the configuration is not that of a training."""
    method = config.get("method")
    groups = [v for k, v in config.items() if isinstance(v, dict) and k != _ELSEWHERE]
    if not isinstance(method, str) or not groups:
        return None
    lines = [f"reteach train {shlex.quote(method)}"]
    for settings in groups:
        line = " "
        for name, value in settings.items():
            word = "" if value is None else f" {_flag(name, value)}"
            if len(line) + len(word) > _WIDTH:
                lines.append(line)
                line = " "
            line += word
        lines.append(line)
    return " \\\n".join([*(line for line in lines if line.strip()), "  --out runs/again"])


def _flag(name: str, value: Any) -> str:
    flag = shlex.quote(name.replace("_", "-"))
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    values = value if isinstance(value, list | tuple) else [value]
    return " ".join([f"--{flag}", *(shlex.quote(str(v)) for v in values)])
