"""What the results of several commands print: tables, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..metrics.registry import columns, counted, metric, view_of

if TYPE_CHECKING:
    from rich.console import Console


def metric_lines(
    metrics: Mapping[str, Mapping[str, Any]], title: str | None = None
) -> Iterator[str]:
    """Models in rows, metrics in columns, in percent; then over how many images they are."""
    titles = columns(view_of("table", metrics.values()))
    shown = [metric(key) for key in titles if any(key in numbers for numbers in metrics.values())]
    rows = [
        (
            name,
            *(
                "" if (value := numbers.get(m.name)) is None else f"{m.scale * value:.{m.digits}f}"
                for m in shown
            ),
        )
        for name, numbers in metrics.items()
    ]
    yield from table_lines(("model", *(titles[m.name] for m in shown)), rows, title)
    yield from dict.fromkeys(words for numbers in metrics.values() if (words := counted(numbers)))


def table_lines(
    titles: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None
) -> Iterator[str]:
    """A table, narrow enough for eight metrics in 80 columns."""
    from rich import box
    from rich.table import Table

    table = Table(*titles, title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(*row)
    console = _console()
    with console.capture() as drawn:
        console.print(table)
    yield from drawn.get().removesuffix("\n").split("\n")


def _console() -> Console:
    """With bold type in a terminal; none in a notebook, whose HTML would show its codes as they are."""
    from rich.console import Console

    usual = Console()
    return Console(force_jupyter=False, force_terminal=False) if usual.is_jupyter else usual
