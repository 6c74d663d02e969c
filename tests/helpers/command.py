"""A command as the command line runs it, from its options."""

from __future__ import annotations

from typing import Any

from reteach import cli


def run(options: Any) -> Any:
    """The result of a command, after its lines were printed."""
    result = cli.run(options)
    for line in result.lines():
        print(line)
    return result
