"""How fast the pages of a review are at a million generated items: opening, pages, verdicts, memory.

    python benchmarks/review_pages.py                      # 1,000,000 items, 100 classes
    python benchmarks/review_pages.py --items 100000 --folder /tmp/review   # kept for the next time

Pictures are drawn as they are asked for. Requests come one after the other, over HTTP to a server on this
machine; a page counts without its pictures, which are counted by themselves. CPU is that of the client
too: on a machine that is busy with other things, it says what the time would be on an idle one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "helpers")]

from rating_kit import wait_for  # noqa: E402
from reteach.labels import Multi  # noqa: E402
from reteach.review.prepare import ReviewItems, write_prepared  # noqa: E402
from reteach.review.prepared import TOP, Opinion  # noqa: E402
from reteach.review.session import open_session  # noqa: E402
from reteach.review.web.reviewers import Reviewers  # noqa: E402
from reteach.review.web.serving import close, new_site, review_app  # noqa: E402
from reteach.web.serving import listen, web_server  # noqa: E402

WIDTH = 64  # of the features


class Drawn:
    """Pictures that are drawn: noise of the item's own."""

    reading = nullcontext()

    def pixels(self, name: str, at_least: int) -> Any:
        return np.random.default_rng(int(name[:7])).integers(0, 255, (64, 64, 3), np.uint8)

    def file(self, name: str) -> None:
        return None

    def stamp(self, name: str) -> str:
        return ""


def prepare(folder: Path, items: int, classes: int) -> None:
    """A prepared folder with an opinion about everything; a tenth of the labels is wrong."""
    rng = np.random.default_rng(0)
    truth = rng.integers(classes, size=items)
    given = np.where(rng.random(items) < 0.1, rng.integers(classes, size=items), truth)
    top = rng.integers(classes, size=(items, TOP)).astype(np.int32)
    top[:, 0] = np.where(rng.random(items) < 0.9, truth, top[:, 0])
    scores = np.sort(rng.dirichlet(np.full(TOP, 0.2), items).astype(np.float32), 1)[:, ::-1]
    sure = np.where(top[:, 0] == given, scores[:, 0], scores[:, 1] * rng.random(items)).astype(
        np.float32
    )
    features = rng.normal(size=(items, WIDTH)).astype(np.float16)
    features[:, 0] += 3 * (truth % 7)
    features[:, 1] += 3 * (truth % 5)
    copies = np.arange(items)
    copies[1:20_000:10] = copies[0:20_000:10][: len(copies[1:20_000:10])]
    names = tuple(f"class {c:03d}" for c in range(classes))
    write_prepared(
        folder,
        ReviewItems(
            "single",
            [f"{i:07d}.jpg" for i in range(items)],
            Multi(np.arange(items + 1), given, classes=names),
            features,
            copies=copies,
            opinion=Opinion(top, np.ascontiguousarray(scores), sure),
        ),
    )


class Asker:
    """A reviewer's browser, without the drawing."""

    def __init__(self, port: int, token: str) -> None:
        self.to = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.cookie = ""
        self.get(f"/r/{token}")
        found = re.search(r'name="form" content="(\w+)"', self.get("/").decode())
        assert found
        self.form, self.number = found[1], 0

    def get(self, path: str) -> bytes:
        return self._ask("GET", path, None, {})

    def do(self, path: str, **fields: Any) -> bytes:
        self.number += 1
        body = json.dumps({"request": f"bench-{time.time_ns()}-{self.number}", **fields})
        return self._ask(
            "POST", f"/do/{path}", body, {"X-Form": self.form, "Content-Type": "application/json"}
        )

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> bytes:
        self.to.request(method, path, body, {"Cookie": self.cookie, **headers})
        reply = self.to.getresponse()
        data = reply.read()
        self.cookie = (reply.getheader("set-cookie") or self.cookie).partition(";")[0]
        assert reply.status in (200, 303), (path, reply.status, data[:300])
        return data


def measure(asker: Asker, items: int, classes: int, rounds: int) -> None:
    """Print the median, p95 and worst time of each kind of request; every page follows a verdict."""
    chance = random.Random(0)

    def label() -> str:
        return f"class {chance.randrange(classes):03d}".replace(" ", "%20")

    def row() -> int:
        return chance.randrange(items)

    kinds: dict[str, Callable[[], Any]] = {
        "verdict on one": lambda: asker.do("decide", rows=[row()], kind="right", shown=[]),
        "verdict on 60": lambda: asker.do(
            "decide", rows=[row() for _ in range(60)], kind="is", label="class 000", shown=[]
        ),
        "undo": lambda: asker.do("undo"),
        "first page": lambda: asker.get("/"),
        "a class": lambda: asker.get(f"/?label={label()}"),
        "a far page": lambda: asker.get(f"/?start={chance.randrange(items - 100)}"),
        "a pair": lambda: asker.get(f"/?given={label()}&predicted={label()}"),
        "search": lambda: asker.get(f"/?q={chance.randrange(10**4):04d}"),
        "reviewed": lambda: asker.get("/?status=reviewed"),
        "another order": lambda: asker.get("/?order=margin"),
        "more like this": lambda: asker.get(f"/?like={row()}&status=all"),
        "one image": lambda: asker.get(f"/item/{row()}?part=true"),
        "confusion": lambda: asker.get("/confusion"),
        "copies": lambda: asker.get("/copies"),
        "map": lambda: asker.get("/map"),
        "map's points": lambda: asker.get("/map/points"),
        "progress": lambda: asker.get("/progress"),
        "what others do": lambda: asker.get(
            "/live?seen=" + ",".join(f"{row()}:x" for _ in range(60))
        ),
        "new thumbnail": lambda: asker.get(f"/thumb/{row()}"),
    }
    for name, ask in kinds.items():
        first = time.perf_counter()
        ask()
        took, busy = [time.perf_counter() - first], [0.0]
        for _ in range(rounds):
            if "verdict" not in name and name != "undo":
                asker.do("decide", rows=[row()], kind="right", shown=[])
            began, worked = time.perf_counter(), time.process_time()
            ask()
            took.append(time.perf_counter() - began)
            busy.append(time.process_time() - worked)
        p50, p95, worst = 1000 * np.percentile(took[1:], [50, 95, 100])
        cpu = 1000 * np.percentile(busy[1:], 95)
        print(
            f"{name:16} median {p50:7.1f}  p95 {p95:7.1f}  worst {worst:7.1f}  "
            f"first {1000 * took[0]:7.1f} ms  CPU p95 {cpu:6.1f} ms",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument(
        "--folder", type=Path, help="where the prepared folder is, or is to be kept"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.folder or Path(scratch)) / "million.review"
        if not folder.exists():
            began = time.perf_counter()
            prepare(folder, arguments.items, arguments.classes)
            print(f"prepared {arguments.items:,} items in {time.perf_counter() - began:.0f} s")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        session = open_session(folder, learn_after=0)
        listener = listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        site = new_site(session, Drawn(), Reviewers(folder, ("ann",)), f"http://127.0.0.1:{port}")
        site.door.calls.burst = site.door.calls.per_second = 1e9
        server = web_server(review_app(site))
        Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
        wait_for(lambda: server.started)
        asker = Asker(port, site.reviewers.token("ann"))
        print(f"from opening the folder to the first page: {time.perf_counter() - began:.2f} s")
        measure(asker, arguments.items, arguments.classes, arguments.rounds)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"resident at most: {after / 1024:.0f} MiB ({before / 1024:.0f} before opening)")
        server.should_exit = True
        close(site)


if __name__ == "__main__":
    main()
