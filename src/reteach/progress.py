"""What a command tells on stderr: a live bar for people, a line now and then for log files, and notes."""

from __future__ import annotations

import html
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.abc import MetaPathFinder
from typing import Any, Protocol, final

QUIET = "RETEACH_QUIET"
"""The environment variable by which --quiet reaches processes that a command begins."""


class Progress(Protocol):
    """What a long loop tells: how far it is, and a few words beside it."""

    def __call__(self, done: int, words: str = "") -> None:
        """``done`` of the total are finished."""


@final
class _LogLines:
    """For output that is not a terminal: a line after ``first`` seconds, then one every ``pause`` seconds."""

    def __init__(self, title: str, total: int, pause: float = 20.0, first: float = 2.0) -> None:
        self.title, self.total, self.pause = title, total, pause
        self.start = time.monotonic()
        self.due = self.start + first

    def __call__(self, done: int, words: str = "") -> None:
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + self.pause
        left = (now - self.start) / max(done, 1) * (self.total - done)
        print(
            f"{self.title}: {done}/{self.total} ({left:.0f} s left) {words}",
            file=sys.stderr,
            flush=True,
        )


@final
class _NotebookBar:
    """For a notebook: one output of a cell that is drawn anew, at most five times a second."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, total
        self.start = time.monotonic()
        self.last = 0.0
        self.show: Any = import_module("IPython.display")
        self.shown = self.show.display(self._bar(0, ""), display_id=True)

    def __call__(self, done: int, words: str = "") -> None:
        now = time.monotonic()
        if done < self.total and now - self.last < 0.2:
            return
        self.last = now
        self.shown.update(self._bar(done, words))

    def _bar(self, done: int, words: str) -> Any:
        seconds = time.monotonic() - self.start
        left = f", {seconds / done * (self.total - done):.0f} s left" if done else ""
        said = html.escape(f"{done:,}/{self.total:,}{left} {words}")
        bar = f'<progress value="{done}" max="{self.total}"></progress>'
        return self.show.HTML(f"<div>{html.escape(self.title)} {bar} {said}</div>")


def in_notebook() -> bool:
    """Whether this process answers the cells of a notebook."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextmanager
def progress(title: str, total: int, quiet: bool = False) -> Iterator[Progress]:
    """Show the progress of a loop of ``total`` rounds while the context lasts."""
    if quiet or os.environ.get(QUIET):
        yield lambda done, words="": None
        return
    if in_notebook():
        yield _NotebookBar(title, total)
        return
    if not sys.stderr.isatty():
        yield _LogLines(title, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[words]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, words="")
        yield lambda done, words="": bar.update(task, completed=done, words=words)


LARGE = {"torch": "PyTorch", "scipy": "SciPy"}
"""Modules whose import takes a good part of a second or more, and what people call them."""


@final
class _Telling(MetaPathFinder):
    """Says that a large module is being loaded, when the import of the first begins; finds nothing itself."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self.modules = modules

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Look at the name of a module that is about to be imported."""
        if fullname in self.modules and self in sys.meta_path:
            sys.meta_path.remove(self)
            print(f"loading {self.modules[fullname]} …", file=sys.stderr, flush=True)


@contextmanager
def telling_of_imports(modules: Mapping[str, str] = LARGE) -> Iterator[None]:
    """Say on a terminal when the first of some modules is imported, in whatever place that is."""
    telling = _Telling(modules)
    silent = any(module in sys.modules for module in modules) or bool(os.environ.get(QUIET))
    if sys.stderr.isatty() and not silent and os.environ.get("RANK", "0") == "0":
        sys.meta_path.insert(0, telling)
    try:
        yield
    finally:
        if telling in sys.meta_path:
            sys.meta_path.remove(telling)


_ABOUT: ContextVar[str] = ContextVar("reteach_about", default="")


@contextmanager
def about(training: str) -> Iterator[None]:
    """While it lasts, :func:`about_what` names one of several trainings."""
    token = _ABOUT.set(training)
    try:
        yield
    finally:
        _ABOUT.reset(token)


def about_what() -> str:
    """The training of several that is prepared now: "softmax, seed 3"; empty where there is one."""
    return _ABOUT.get()


def note(message: str) -> None:
    """Tell the user something that they may have meant otherwise; under torchrun one process does."""
    if os.environ.get("RANK", "0") == "0":
        print(f"reteach: {message}", file=sys.stderr, flush=True)
