"""What the commands are called in Python."""

from __future__ import annotations

NAMES = {"relabel export": "export_answers"}
"""Where the rule would give a name that another command has."""


def python_name(command: str) -> str:
    """A command's name as a function: ``clean`` of ``relabel clean``, ``demo_photos`` of ``demo photos``."""
    return NAMES.get(command, command.removeprefix("relabel ").replace(" ", "_"))
