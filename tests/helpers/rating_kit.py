"""Small stores, a server to talk to, and a client that does what a browser without scripts does."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from PIL import Image

from reteach.rating.app_state import Site
from reteach.rating.assignment import Flow
from reteach.rating.build import TaskPlan, build
from reteach.rating.raters import add_raters
from reteach.rating.server import create_app
from reteach.rating.store import Store
from reteach.web.images import FolderImages, Gallery
from reteach.web.security import new_token

SOURCE = Path(__file__).resolve().parents[2] / "src"


def label_plan(
    images: int = 4, width: int = 3, golden: tuple[int, ...] = (), **changes: Any
) -> TaskPlan:
    """One task per image about all classes; the right class of image i is i modulo ``width``."""
    gold = np.full((images, width), np.nan)
    for i in golden:
        gold[i] = [float(c == i % width) for c in range(width)]
    given: dict[str, Any] = {
        "kind": "labels",
        "items": [f"{i:03d}.png" for i in range(images)],
        "original": np.arange(images) % width,
        "classes": [f"class {c}" for c in range(width)],
        "item": np.arange(images),
        "starts": np.arange(images + 1) * width,
        "asked": np.tile(np.arange(width), images),
        "gold": gold.ravel(),
    }
    return TaskPlan(**given | changes)


def new_store(where: str | Path, plan: TaskPlan | None = None, **options: Any) -> Store:
    """A store with ``label_plan`` tasks."""
    return build(where, label_plan() if plan is None else plan, **{"wanted": 2, **options})


def photos(folder: Path, names: list[str]) -> Path:
    """A small picture for every name."""
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    return folder


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def wait_for(ready: Callable[[], bool], seconds: float = 120.0) -> None:
    """Until it is so, or fail; so late only where something hangs, not on a busy machine."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextmanager
def own_port() -> Iterator[int]:
    """A port on loopback that is kept from everybody but the servers started on it, one after another.

    A port that is merely free now can be somebody else's in the next moment, above all while a server
    that was killed starts again. Here a socket that never listens holds it; the server's own shares it
    (on Linux: both have SO_REUSEADDR, and neither listens when it is bound).
    """
    with socket.socket() as holder:
        if sys.platform == "linux":
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = int(holder.getsockname()[1])
        if sys.platform != "linux":
            holder.close()
        yield port


@contextmanager
def running(
    store: Store, folder: Path, port: int = 0, public: str | None = None, **flow: Any
) -> Iterator[Site]:
    """The app on a port of loopback, in a thread.

    Args:
        port: 0: a free one.
        public: the address that raters use, where something stands before the app.
    """
    from reteach.web.serving import listen, web_server

    gallery = Gallery(FolderImages(folder))
    listener = listen("127.0.0.1", port)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    flows = Flow(store, gallery.why_missing, **flow)
    site = Site(store, flows, gallery, new_token(), public or address)
    server = web_server(create_app(site))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield site
    finally:
        server.should_exit = True
        thread.join(10)


def start_process(
    where: str, folder: Path, port: int, log: Path = Path(os.devnull)
) -> subprocess.Popen[bytes]:
    """``reteach rate`` in a process of its own; returns when it answers."""
    code = (
        "import sys; from reteach.cli import run; from reteach.options.rate import RateOptions; "
        "print(*run(RateOptions(sys.argv[1], images=sys.argv[2], port=int(sys.argv[3]))).lines())"
    )
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", code, where, str(folder), str(port)],
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            stdout=out,
        )

    def answers() -> bool:
        assert process.poll() is None, "the server did not start"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(answers)
    return process


def links(site: Site, *names: str) -> dict[str, str]:
    """New raters and the addresses of their links."""
    tokens = add_raters(site.store, names)
    return {name: f"{site.public}/r/{token}" for name, token in tokens.items()}


class Page(HTMLParser):
    """The forms and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.forms: list[tuple[str, dict[str, str]]] = []
        """(action, hidden fields)"""
        self.radios: dict[str, list[tuple[str, bool]]] = {}
        """name -> (value, chosen)"""
        self.images: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((at["action"], {}))
        elif tag == "input" and at.get("type") == "hidden":
            self.forms[-1][1][at["name"]] = at["value"]
        elif tag == "input" and at.get("type") == "radio":
            self.radios.setdefault(at["name"], []).append((at["value"], "checked" in at))
        elif tag == "img":
            self.images.append(at["src"])
        elif tag == "a":
            self.links.append(at["href"])

    @property
    def task(self) -> int | None:
        """The task that the page asks about."""
        found = re.search(r'action="/rate/(\d+)"', self.text)
        return None if found is None else int(found[1])

    @property
    def fields(self) -> dict[str, str]:
        """The hidden fields of the form of the task."""
        return next(dict(fields) for action, fields in self.forms if action.startswith("/rate/"))


class Client:
    """One browser: a connection that is kept, and cookies."""

    def __init__(self, link: str = "") -> None:
        self.cookies: dict[str, str] = {}
        self.status = 0
        self.headers: dict[str, str] = {}
        self._to: http.client.HTTPConnection | None = None
        self.host = ""
        if link:
            self.get(link)

    def get(self, path: str, **headers: str) -> Page:
        """A page, after all redirects."""
        return self._send("GET", path, None, headers)

    def post(self, path: str, fields: dict[str, Any], **headers: str) -> Page:
        """Send a form, and follow redirects."""
        return self._send("POST", path, urlencode(fields), headers)

    def answer(self, page: Page, choose: Callable[[str], int]) -> Page:
        """Fill in and send the form of a task."""
        fields = page.fields | {name: str(choose(name)) for name in page.radios}
        return self.post(f"/rate/{page.task}", fields)

    def _send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Page:
        parts = urlsplit(path)
        if parts.netloc and parts.netloc != self.host:
            self.close()
            self.host = parts.netloc
        if self._to is None:
            self._to = self.connect()
        jar = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Cookie": jar} if jar else {}
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        where = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            self._to.request(method, where, body, sent)
            reply = self._to.getresponse()
            data = reply.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        for name, value in reply.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]
        self.status = reply.status
        self.headers = {name.lower(): value for name, value in reply.getheaders()}
        self.data = data
        if reply.status == 303:
            return self._send("GET", self.headers["location"], None, {})
        return Page(data.decode("utf-8", "replace"))

    def connect(self) -> http.client.HTTPConnection:
        """A new connection to ``host``."""
        return http.client.HTTPConnection(self.host, timeout=60)

    def close(self) -> None:
        """Drop the connection."""
        if self._to is not None:
            self._to.close()
            self._to = None
