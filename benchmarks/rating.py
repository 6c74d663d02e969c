"""How fast the rating server takes answers, and whether it loses any when it is killed.

    python benchmarks/rating.py latency            # 8 raters, a store of the size of the paper's
    python benchmarks/rating.py latency --strangers 300   # who send half a request each, again and again
    python benchmarks/rating.py kill               # 20 raters, killed with -9 twenty times

A store is SQLite in a temporary folder, or what ``--store`` names (an empty PostgreSQL database).
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import socket
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "helpers")]

from rating_kit import Client, label_plan, own_port, photos, start_process, wait_for  # noqa: E402
from reteach.rating.build import build  # noqa: E402
from reteach.rating.export import ratings_of  # noqa: E402
from reteach.rating.importer import bring_in  # noqa: E402
from reteach.rating.raters import add_raters  # noqa: E402
from reteach.rating.store import Store  # noqa: E402
from reteach.relabel.raters.ratings import Ratings  # noqa: E402

IMAGES = 200  # different pictures


def latency(arguments: argparse.Namespace, folder: Path, where: str) -> None:
    """Time from sending an answer to having the next page, and the image after that."""
    store = _large_store(where, arguments.tasks, arguments.answered)
    pictures = _pictures(folder / "images", _names(arguments.tasks))
    tokens = add_raters(store, [f"rater {n}" for n in range(arguments.raters)])
    store.close()
    with own_port() as port:
        _measure(arguments, where, pictures, tokens, port)


def _measure(
    arguments: argparse.Namespace, where: str, pictures: Path, tokens: dict[str, str], port: int
) -> None:
    server = start_process(where, pictures, port)
    took: list[float] = []
    end = time.monotonic() + arguments.seconds

    def rate(token: str, seed: int) -> None:
        chance = random.Random(seed)
        client = Client(f"http://127.0.0.1:{port}/r/{token}")
        page, seen = client.get("/rate"), set()
        while page.task is not None and time.monotonic() < end:
            for image in set(page.images) - seen:  # a browser keeps those it has
                client.get(image)
            seen |= set(page.images)
            time.sleep(chance.uniform(0, 2 * arguments.think))
            start = time.perf_counter()
            page = client.answer(page, lambda name: chance.randrange(3))
            took.append(time.perf_counter() - start)
            assert client.status == 200, client.status

    strangers = Strangers(arguments.strangers, port)
    before = cpu_seconds(server.pid)
    _all_at_once([(rate, (token, n)) for n, token in enumerate(tokens.values())])
    cpu = 1000 * (cpu_seconds(server.pid) - before) / len(took)
    opened = strangers.end()
    server.kill()
    server.wait()
    p50, p95, p99, worst = 1000 * np.percentile(took, [50, 95, 99, 100])
    if arguments.strangers:
        print(f"{arguments.strangers} strangers opened {opened:,} connections with half a request")
    print(
        f"{arguments.raters} raters, {arguments.tasks:,} tasks of 5 labels, "
        f"{arguments.answered:.0%} answered before, {arguments.think:g} s to think: "
        f"{len(took):,} answers in {arguments.seconds:g} s; "
        f"answer to next page: median {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, worst {worst:.1f} ms; "
        f"server {cpu:.1f} ms of CPU per answer with its page and images; "
        f"load average of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


class Strangers:
    """So many connections, each with half a request that grows by a byte a second."""

    def __init__(self, count: int, port: int) -> None:
        self.port, self.opened, self.over = port, 0, threading.Event()
        self.sockets: list[socket.socket | None] = [None] * count
        self.thread = threading.Thread(target=self._crawl, daemon=True)
        self.thread.start()

    def end(self) -> int:
        """How many connections there were."""
        self.over.set()
        self.thread.join()
        return self.opened

    def _crawl(self) -> None:
        while not self.over.wait(1.0):
            for at, old in enumerate(self.sockets):
                try:
                    if old is None:
                        old = self.sockets[at] = socket.create_connection(
                            ("127.0.0.1", self.port), 5
                        )
                        old.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                        self.opened += 1
                    old.sendall(b"x")
                except OSError:
                    self.sockets[at] = None


def kill(arguments: argparse.Namespace, folder: Path, where: str) -> None:
    """Kill and restart the server while all raters answer; then compare with what was promised."""
    said, lost = kill_and_count(folder, where, arguments.raters, arguments.kills)
    print(
        f"{arguments.raters} raters, killed {arguments.kills} times: {said:,} answers were acknowledged, "
        f"{lost} of them lost or changed, none stored twice"
    )
    if lost:
        sys.exit(1)


def kill_and_count(
    folder: Path, where: str, raters: int, kills: int, tasks: int = 3_000
) -> tuple[int, int]:
    """(acknowledged answers, answers lost or changed); fails if any is stored twice."""
    plan = label_plan(tasks, 4)
    names = _names(tasks)
    store = build(where, replace(plan, items=names), wanted=3)
    pictures = _pictures(folder / "images", names)
    tokens = add_raters(store, [f"rater {n}" for n in range(raters)])
    with own_port() as port:
        acknowledged = _rate_and_kill(where, pictures, tokens, port, kills)
    lost = _missing(store, acknowledged)
    store.close()
    return len(acknowledged), lost


def _rate_and_kill(
    where: str, pictures: Path, tokens: dict[str, str], port: int, kills: int
) -> dict[tuple[str, int], dict[str, str]]:
    """(rater, task) -> the form that was acknowledged."""
    raters = len(tokens)
    acknowledged: dict[tuple[str, int], dict[str, str]] = {}
    over = threading.Event()

    def rate(name: str, token: str, seed: int) -> None:
        chance = random.Random(seed)
        client = Client()
        client.host = f"127.0.0.1:{port}"
        page = None
        while not over.is_set():
            try:
                if page is None:
                    client.get(f"/r/{token}")
                    page = client.get("/rate")
                fields = page.fields | {q: str(chance.randrange(3)) for q in page.radios}
                task = page.task
                while True:  # the same form again and again, as the page's script does
                    try:
                        after = client.post(f"/rate/{task}", fields)
                        break
                    except (OSError, http.client.HTTPException):
                        if over.is_set():
                            return
                        time.sleep(0.05)
                assert client.status == 200, (client.status, after.text)
                assert task is not None
                acknowledged[name, task] = fields
                page = after
            except (OSError, http.client.HTTPException):
                page = None  # the answer may be stored, but nobody said so
                time.sleep(0.05)

    server = start_process(where, pictures, port)
    threads = [
        threading.Thread(target=rate, args=(name, token, n), daemon=True)
        for n, (name, token) in enumerate(tokens.items())
    ]
    for thread in threads:
        thread.start()
    chance = random.Random(0)
    for _ in range(kills):
        _wait_for_more(acknowledged, chance.randint(raters, 3 * raters))
        server.kill()
        server.wait()
        server = start_process(where, pictures, port)
    _wait_for_more(acknowledged, raters)
    over.set()
    for thread in threads:
        thread.join(30)
    server.kill()
    server.wait()
    return acknowledged


def _wait_for_more(acknowledged: dict[tuple[str, int], dict[str, str]], more: int) -> None:
    """Until so many more answers have been acknowledged."""
    enough = len(acknowledged) + more
    wait_for(lambda: len(acknowledged) >= enough)


def _missing(store: Store, acknowledged: dict[tuple[str, int], dict[str, str]]) -> int:
    """Acknowledged answers that the store does not have as they were given."""
    ratings = ratings_of(store)
    stored = list(zip(ratings.rater.tolist(), ratings.pair.tolist(), strict=True))
    assert len(set(stored)) == len(stored), "an answer is stored twice"
    found = dict(zip(stored, ratings.answer.tolist(), strict=True))
    by_task: dict[int, set[int]] = {}
    for rater, pair in stored:
        by_task.setdefault(pair, set()).add(rater)
    assert max(map(len, by_task.values())) <= store.settings.wanted, "a task has too many raters"
    lost = 0
    for (name, _), fields in acknowledged.items():
        rater = ratings.raters.index(name)
        given = {int(q[1:]): int(v) for q, v in fields.items() if q[0] == "q"}
        lost += any(found.get((rater, question)) != answer for question, answer in given.items())
    return lost


def cpu_seconds(process: int) -> float:
    """Seconds of CPU that a process has used (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _names(n: int) -> list[str]:
    return [f"{i:06d}.png" for i in range(n)]


def _pictures(folder: Path, names: list[str]) -> Path:
    """A file for every name, few of them different."""
    photos(folder, names[:IMAGES])
    for i, name in enumerate(names[IMAGES:]):
        os.link(folder / names[i % IMAGES], folder / name)
    return folder


def _large_store(where: str, tasks: int, answered: float) -> Store:
    """A store in which five people have answered a part of the tasks."""
    plan = label_plan(tasks, 5)
    store = build(where, replace(plan, items=_names(tasks)), wanted=5)
    part = int(tasks * answered)
    if part:
        pairs = np.arange(5 * part)
        everything = ratings_of(store)
        bring_in(
            store,
            Ratings(
                everything.items,
                everything.classes,
                everything.pair_item,
                everything.pair_class,
                [f"earlier {n}" for n in range(5)],
                np.repeat(np.arange(5), len(pairs)),
                np.tile(pairs, 5),
                np.zeros(5 * len(pairs), np.int8),
                everything.gold,
                everything.original,
            ),
            time.time(),
        )
    return store


def _all_at_once(jobs) -> None:  # type: ignore[no-untyped-def]
    threads = [threading.Thread(target=job, args=given) for job, given in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("latency", "kill"))
    parser.add_argument("--raters", type=int)
    parser.add_argument("--tasks", type=int, default=38_000)
    parser.add_argument("--answered", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--think", type=float, default=0.5, help="mean seconds between answers")
    parser.add_argument("--strangers", type=int, default=0, help="who send half a request each")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--store", help="an empty PostgreSQL database")
    arguments = parser.parse_args()
    arguments.raters = arguments.raters or (8 if arguments.what == "latency" else 20)
    with tempfile.TemporaryDirectory() as folder:
        where = arguments.store or str(Path(folder) / "ratings.db")
        {"latency": latency, "kill": kill}[arguments.what](arguments, Path(folder), where)


if __name__ == "__main__":
    main()
