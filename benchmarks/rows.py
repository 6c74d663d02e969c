"""The rows of the table: a name, and the function that makes its contest in a folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from benchmarks.house import Contest

ROWS = {
    "consensus": "raters:contest",
    "selection": "selection:contest",
    "mean average precision": "metrics:mean_average_precision",
    "example F1": "metrics:example_f1",
    "wrong labels, time": "clean:contest",
    "wrong labels, F1": "clean:found",
    "near-duplicates": "near_copies:contest",
    "neighbours": "neighbours:contest",
    "training, engine": "engine:contest",
    "training, files": "training:contest",
    "training, step": "step:contest",
    "snapshot": "snapshot:contest",
    "image input, 500 px": "image_input:small",
    "image input, 1600 px": "image_input:large",
    "image input, cached": "image_input:cached",
    "embedding": "embed:contest",
    "scoring": "score:contest",
    "label tables": "label_csv:contest",
    "start-up, command": "start_up:command",
    "start-up, metrics": "start_up:metrics",
    "start-up, wrong labels": "start_up:wrong_labels",
    "rating server": "label_studio:contest",
}


def chosen(words: list[str]) -> list[str]:
    """The rows that are called so, or begin so; all without words.

    Raises:
        SystemExit: there is none.
    """
    found = [row for row in ROWS if not words or any(row.startswith(word) for word in words)]
    for word in words:
        if not any(row.startswith(word) for row in ROWS):
            raise SystemExit(f"no row begins with {word!r}: {', '.join(ROWS)}")
    return found


def contest(row: str, folder: Path) -> Contest:
    """What a row measures.

    Args:
        folder: for its files; it is deleted at the end.
    """
    module, _, function = ROWS[row].partition(":")
    made: Contest = getattr(import_module(f"benchmarks.{module}"), function)(folder)
    return made
