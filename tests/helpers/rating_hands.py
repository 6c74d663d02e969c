"""A person at a keyboard, in a real browser: Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TASK = "document.querySelector('[data-task]')?.getAttribute('action') ?? ''"


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Hands:
    """A person at a keyboard: sees the page, and presses keys."""

    def __init__(self, browser: Any, link: str, **look: Any) -> None:
        self.context = browser.new_context(**look)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda m: m.type == "error" and self.problems.append(m.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(link)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def turn(self, *keys: str) -> None:
        """Press keys, the last of which leads to another task or page."""
        before = self.page.evaluate(TASK)
        self.press(*keys)
        self.page.wait_for_function(f"before => ({TASK}) !== before", arg=before)

    @property
    def item(self) -> int:
        """The image on the screen."""
        return int(self.page.get_attribute("[data-photo]", "src").rpartition("/")[2])

    @property
    def names(self) -> list[str]:
        """The labels on the screen."""
        return self.page.locator(".row .name").all_text_contents()

    @property
    def heading(self) -> str:
        return str(self.page.text_content("h1"))

    def close(self) -> None:
        assert self.problems == []
        self.context.close()
