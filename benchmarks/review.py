"""What a review is worth: simulated reviewers, a million items, and a process that is killed.

    python benchmarks/review.py orders --features F --given G.csv --truth T.csv \
        --test-features TF --test-labels TL.csv       # effort against noise and accuracy
    python benchmarks/review.py scale --items 1000000 # opening, pages, decisions and memory
    python benchmarks/review.py kill --kills 20       # two reviewers, killed with -9

A simulated reviewer says of each item what the truth table says. A store is SQLite in a temporary folder, or
what ``--store`` names (an empty PostgreSQL database).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

from reteach.data.sources.feature_table import read_table  # noqa: E402
from reteach.item_index import rows_among  # noqa: E402
from reteach.labels import Multi  # noqa: E402
from reteach.review.decisions import ReviewVerdict  # noqa: E402
from reteach.review.heads import Moments, gaussians  # noqa: E402
from reteach.review.prepare import ReviewItems, write_prepared  # noqa: E402
from reteach.review.prepared import Opinion  # noqa: E402
from reteach.review.session import ReviewSession, open_session  # noqa: E402
from reteach.review.store import open_review_store  # noqa: E402
from reteach.review.values import Query  # noqa: E402
from reteach.tables import read_labels  # noqa: E402

POINTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)
STEP = 0.05


# --- orders: effort against noise and accuracy -----------------------------------------------------------


@dataclass(frozen=True)
class Noisy:
    """N items with given and true classes, and test items with true ones; features are (N, D)."""

    items: list[str]
    x: np.ndarray
    given: np.ndarray
    truth: np.ndarray
    classes: tuple[str, ...]
    test_x: np.ndarray
    test_y: np.ndarray

    def take(self, rows: np.ndarray) -> Noisy:
        """Some of the items."""
        items = [self.items[row] for row in rows.tolist()]
        return replace(
            self, items=items, x=self.x[rows], given=self.given[rows], truth=self.truth[rows]
        )


def noisy(arguments: argparse.Namespace) -> Noisy:
    """The data that the arguments name."""
    table, test = read_table(arguments.features), read_table(arguments.test_features)
    truth = read_labels(arguments.truth, kind="single")
    classes = truth.labels.classes

    def of(path: Path, items: list[str]) -> np.ndarray:
        found = read_labels(path, kind="single", classes=classes)
        rows = rows_among(items, found.items)
        return np.where(rows >= 0, found.labels.index[rows], -1)

    items = list(table.items)
    data = Noisy(
        items,
        table.features[:, 0],
        of(arguments.given, items),
        of(arguments.truth, items),
        classes,
        test.features[:, 0],
        of(arguments.test_labels, list(test.items)),
    )
    keep = (data.given >= 0) & (data.truth >= 0)
    if arguments.without is not None:
        keep &= ~np.isin(items, list(read_table(arguments.without).items))
    return data.take(np.flatnonzero(keep))


def softmax_head(x: np.ndarray, y: np.ndarray, classes: int, decay: float = 0.1) -> tuple:
    """Weights of logistic regression with weight decay, the usual head: nothing in it knows of noise."""
    import torch

    a, b = torch.from_numpy(x), torch.from_numpy(y)
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    offset = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, offset], max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = torch.nn.functional.cross_entropy(a @ weight + offset, b)
        found = found + decay / 2 * (weight**2).sum()
        found.backward()
        return found

    optimizer.step(loss)
    return weight.detach().numpy(), offset.detach().numpy()


def accuracies(data: Noisy, session: ReviewSession, y: np.ndarray, decided: np.ndarray) -> tuple:
    """On the test items: of the review's own head, and of plain softmax, both on the labels as they are."""
    moments = Moments.load(session.prepared.folder)
    x, z = moments.standardised(data.x), moments.standardised(data.test_x)
    out = []
    for weight, offset in (
        gaussians(x, y, decided, len(data.classes), moments.second),
        softmax_head(x, y, len(data.classes)),
    ):
        out.append(float(((z @ weight + offset).argmax(1) == data.test_y).mean()))
    return tuple(out)


def logistic_opinion(data: Noisy, folds: int, seed: int) -> Opinion:
    """Probabilities out of fold of logistic regression, as cleanlab's tutorials make them."""
    x = Moments.of(data.x, 0).standardised(data.x)
    fold = np.random.default_rng(seed).permutation(len(x)) % folds
    scores = np.empty((len(x), len(data.classes)))
    for k in range(folds):
        weight, offset = softmax_head(x[fold != k], data.given[fold != k], len(data.classes))
        logits = x[fold == k] @ weight + offset
        e = np.exp(logits - logits.max(1, keepdims=True))
        scores[fold == k] = e / e.sum(1, keepdims=True)
    top = np.argsort(-scores, 1, kind="stable")
    return Opinion(
        top.astype(np.int32),
        np.take_along_axis(scores, top, 1).astype(np.float32),
        scores[np.arange(len(x)), data.given].astype(np.float32),
    )


def reviews(arguments: argparse.Namespace, data: Noisy, seed: int) -> Iterator[dict]:
    """One row per order and effort."""
    n = len(data.items)
    given = Multi(np.arange(n + 1), data.given, data.classes)
    base = ReviewItems("single", data.items, given, data.x)
    ways: dict[str, tuple[str, bool, Opinion | None]] = {
        "self-confidence, again every 5%": ("self-confidence", True, None),
        "self-confidence, once": ("self-confidence", False, None),
        "balanced, again every 5%": ("self-confidence+balanced", True, None),
        "diverse, again every 5%": ("self-confidence+diverse", True, None),
        "margin, once": ("margin", False, None),
        "active-lab, again every 5%": ("active-lab", True, None),
        "random": ("random", False, None),
    }
    if not arguments.quick:
        opinion = logistic_opinion(data, 5, seed)
        ways["cleanlab self-confidence (logistic)"] = ("self-confidence", False, opinion)
        ways["cleanlab normalized margin (logistic)"] = ("margin", False, opinion)
    for name, (order, again, opinion) in ways.items():
        if arguments.ways and not any(word in name for word in arguments.ways):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "x.review"
            write_prepared(folder, replace(base, opinion=opinion), folds=10, seed=seed)
            session = open_session(folder, learn_after=0)
            for row in _review(arguments, data, session, order, again):
                yield {"way": name, "seed": seed, **row}
            session.close()


def _review(
    arguments: argparse.Namespace, data: Noisy, session: ReviewSession, order: str, again: bool
) -> Iterator[dict]:
    n, wrong = len(data.items), data.given != data.truth
    y, decided = data.given.copy(), np.zeros(n, np.bool_)
    points = [round(p * n) for p in arguments.points]
    steps = sorted({*points, *range(round(STEP * n), max(points) + 1, round(STEP * n))})
    expected = None
    for a, b in pairwise([0, *steps]):
        if a in (0, *points):
            yield _row(data, session, order, y, decided, expected, arguments.accuracy)
        rows = session.rows(Query(status="open", order=order))[: b - a]
        expected = None
        if b - a >= 100:
            coming = session.progress(order).next_100
            expected = (coming, int(wrong[rows[:100]].sum()))
        for c in np.unique(data.truth[rows]).tolist():
            some = rows[data.truth[rows] == c]
            verdict = ReviewVerdict("is", data.classes[c])
            session.decide("simulated", some, verdict, f"{b}-{c}")
        y[rows], decided[rows] = data.truth[rows], True
        if again and b < max(points):
            session.relearn()
            session.wait()
    yield _row(data, session, order, y, decided, expected, arguments.accuracy)


def _row(data: Noisy, session: ReviewSession, order: str, y, decided, expected, accuracy) -> dict:
    wrong, found = data.given != data.truth, (data.given != data.truth)[decided]
    progress = session.progress(order)
    now = progress.noise_now
    out = {
        "effort": float(decided.mean()),
        "precision": float(found.mean()) if len(found) else float("nan"),
        "found": float(found.sum() / wrong.sum()),
        "noise": float((y != data.truth).mean()),
        "says": [now.value, now.low, now.high],
        "next": None if expected is None else [expected[0].low, expected[0].high, expected[1]],
    }
    if accuracy:
        out["own"], out["softmax"] = accuracies(data, session, y, decided)
    return out


def orders(arguments: argparse.Namespace) -> None:
    """Reviews of the data, seed by seed; a table of means, and lines as JSON."""
    whole, rows = noisy(arguments), []
    for seed in arguments.seeds:
        data = whole
        if arguments.draw is not None:
            chance = np.random.default_rng(seed)
            data = whole.take(
                np.sort(chance.choice(len(whole.items), arguments.draw, replace=False))
            )
        for row in reviews(arguments, data, seed):
            rows.append(row)
            if arguments.out is not None:
                with arguments.out.open("a") as file:
                    file.write(json.dumps({"data": arguments.given.stem, **row}) + "\n")
    table(rows)


def table(rows: list[dict]) -> None:
    """Means over the seeds."""
    print(f"{'order':40} effort  wrong  found  noise  own    softmax  interval holds")
    for way in dict.fromkeys(row["way"] for row in rows):
        for effort in sorted({round(row["effort"], 3) for row in rows}):
            some = [r for r in rows if r["way"] == way and round(r["effort"], 3) == effort]
            if not some:
                continue
            mean = {
                key: float(np.mean([r.get(key, np.nan) for r in some]))
                for key in ("precision", "found", "noise", "own", "softmax")
            }
            held = sum(r["says"][1] - 1e-9 <= r["noise"] <= r["says"][2] + 1e-9 for r in some)
            print(
                f"{way:40} {effort:6.0%} "
                + " ".join(f"{v:6.1%}" for v in mean.values())
                + f"   {held}/{len(some)}"
            )


# --- scale: a million items -------------------------------------------------------------------------------


def scale(arguments: argparse.Namespace) -> None:
    """Generated items: a folder is made here, and opened and used in a process of its own."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder = Path(scratch) / "million.review"
        cpu = time.process_time()
        _generate(folder, arguments.items, arguments.classes, arguments.dimensions)
        print(f"made {arguments.items:,} items in {time.process_time() - cpu:.0f} s of a processor")
        subprocess.run([sys.executable, __file__, "use", "--folder", str(folder)], check=True)


def _generate(folder: Path, n: int, classes: int, width: int) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(classes, width)).astype(np.float32)
    truth = rng.integers(0, classes, n)
    given = np.where(rng.random(n) < 0.1, rng.integers(0, classes, n), truth)
    features = np.empty((n, width), np.float16)
    for start in range(0, n, 1 << 14):
        part = truth[start : start + (1 << 14)]
        features[start : start + len(part)] = centres[part] * 0.35 + rng.normal(
            size=(len(part), width)
        ).astype(np.float32)
    names = [f"folder-{i % 997:03d}/photo-{i:07d}.jpg" for i in range(n)]
    words = tuple(f"class {c:03d}" for c in range(classes))
    sets = Multi(np.arange(n + 1), given, words)
    copies = np.arange(n)
    copies[1::1000] = copies[::1000][: len(copies[1::1000])]
    write_prepared(folder, ReviewItems("single", names, sets, features, copies=copies), folds=5)


def use(arguments: argparse.Namespace) -> None:
    """Open a folder, look at pages, decide: times of a processor, as machines are shared, and on the wall."""
    before = _memory()
    began, cpu = time.monotonic(), time.process_time()
    session = open_session(arguments.folder, learn_after=0)
    first = session.rows(Query(order="self-confidence"))[:60]
    session.items(first)
    print(
        f"opened {session.count:,} items, with the first page: {time.process_time() - cpu:.2f} s of a "
        f"processor, {time.monotonic() - began:.2f} s on the wall"
    )
    names = session.classes
    chance = random.Random(0)
    kinds: dict[str, list[tuple[float, float]]] = {}

    def timed(kind: str, do: Callable[[], object]) -> None:
        began, cpu = time.monotonic(), time.process_time()
        do()
        took = time.monotonic() - began, time.process_time() - cpu
        kinds.setdefault(kind, []).append(took)

    def page(kind: str, query: Query) -> None:
        def look() -> None:
            rows = session.rows(query)
            at = chance.randrange(max(len(rows) // 60, 1)) * 60
            session.items(rows[at : at + 60])

        timed(kind, look)

    for turn in range(arguments.turns):
        name, other = chance.choice(names), chance.choice(names)
        page("class", Query(label=name))
        page("pair", Query(given=name, predicted=other))
        page("all", Query(status="all"))
        page("text", Query(text=f"photo-{chance.randrange(10_000):04d}"))
        if turn < arguments.turns // 4:
            page("more like this", Query(like=chance.randrange(session.count), status="all"))
        rows = session.rows(Query(label=name))[:5]
        verdict = ReviewVerdict("is", other)
        timed("decide", lambda r=rows, v=verdict, t=turn: session.decide("r", r, v, f"{t}"))
    pages = [took for kind, all_ in kinds.items() if kind != "decide" for took in all_]
    timed("progress", session.progress)
    timed("counts", session.counts)
    for kind, all_ in (*kinds.items(), ("all pages", pages)):
        wall, cpu_ms = (np.quantile([took[k] for took in all_], [0.5, 0.95]) * 1000 for k in (0, 1))
        print(
            f"{kind:15} {len(all_):4} times: median {cpu_ms[0]:6.1f} ms, p95 {cpu_ms[1]:6.1f} ms of a "
            f"processor; on the wall {wall[0]:.0f} and {wall[1]:.0f} ms"
        )
    print(f"memory: {_memory():,.0f} MB at most, {before:,.0f} MB before opening")
    if arguments.learn:
        session.relearn()
        print(
            f"learned again in {session.wait().seconds:.0f} s; memory {_memory():,.0f} MB at most"
        )
    session.close()


def _memory() -> float:
    """The most that this process held, in MB; what began it does not count."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


# --- kill: two reviewers, kill -9 -------------------------------------------------------------------------

ITEMS, CLASSES = 300, ("cat", "dog", "owl")


def small_review(folder: Path) -> Path:
    """A prepared folder of few items with two features."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, len(CLASSES), ITEMS)
    x = np.eye(len(CLASSES))[truth] + 0.2 * rng.normal(size=(ITEMS, len(CLASSES)))
    given = np.where(rng.random(ITEMS) < 0.2, 0, truth)
    sets = Multi(np.arange(ITEMS + 1), given, CLASSES)
    names = [f"{i:04d}.png" for i in range(ITEMS)]
    out = folder / "small.review"
    write_prepared(out, ReviewItems("single", names, sets, x.astype(np.float16)), folds=3)
    return out


def said(reviewer: str, number: int) -> tuple[str, list[int], ReviewVerdict]:
    """The request, rows and verdict that a reviewer's number stands for."""
    chance = random.Random(f"{reviewer} {number}")
    rows = sorted(chance.sample(range(ITEMS), chance.randrange(1, 6)))
    return f"{reviewer}-{number}", rows, ReviewVerdict("is", chance.choice(CLASSES))


def work(arguments: argparse.Namespace) -> None:
    """A reviewer: one decision after the other, each said on stdout once it is acknowledged."""
    session = open_session(arguments.folder, arguments.store, learn_after=0)
    number = arguments.number
    while True:
        request, rows, verdict = said(arguments.reviewer, number)
        session.decide(arguments.reviewer, rows, verdict, request)
        print(number, flush=True)
        number += 1


def kill_and_count(
    folder: Path, where: str, kills: int, seconds: float = 0.25
) -> tuple[int, int, int]:
    """(acknowledged decisions, lost or changed, doubled), two reviewers in processes of their own."""
    prepared = small_review(folder)
    acknowledged = {"ann": -1, "ben": -1}
    chance = random.Random(0)

    def life(reviewer: str) -> None:
        words = [sys.executable, __file__, "work", "--folder", str(prepared), "--store", where]
        words += ["--reviewer", reviewer, "--number", str(acknowledged[reviewer] + 1)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()  # it is at work
        end = time.monotonic() + chance.uniform(0.2, 1) * seconds
        killer = threading.Timer(end - time.monotonic(), process.send_signal, [signal.SIGKILL])
        killer.start()
        for line in [first, *process.stdout]:
            if line.endswith("\n"):
                acknowledged[reviewer] = int(line)
        process.wait()
        assert process.returncode == -signal.SIGKILL

    for _ in range(kills):
        both = [threading.Thread(target=life, args=(name,)) for name in acknowledged]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
    return _count(prepared, where, acknowledged)


def _count(prepared: Path, where: str, acknowledged: dict[str, int]) -> tuple[int, int, int]:
    session = open_session(prepared, where, learn_after=0)
    actions = session.store.since(0)
    assert [a.id for a in actions] == list(range(1, len(actions) + 1))
    by_request = {}
    for action in actions:
        by_request.setdefault((action.reviewer, action.request), []).append(action)
    lost = 0
    for reviewer, last in acknowledged.items():
        for number in range(last + 1):
            request, rows, verdict = said(reviewer, number)
            found = by_request.get((reviewer, request), [])
            lost += not found or found[0].rows.tolist() != rows or found[0].label != verdict.label
    doubled = sum(len(found) - 1 for found in by_request.values())
    extra = len(by_request) - sum(last + 1 for last in acknowledged.values())
    assert extra <= 2, (
        "more decisions than were made"
    )  # in the store, but killed before it was said
    session.close()
    open_review_store(where, session.prepared.record.identity).close()
    return sum(last + 1 for last in acknowledged.values()), lost, doubled


def kill(arguments: argparse.Namespace) -> None:
    """Kill two reviewers again and again."""
    with tempfile.TemporaryDirectory() as scratch:
        where = arguments.store or str(Path(scratch) / "decisions.sqlite")
        acknowledged, lost, doubled = kill_and_count(Path(scratch), where, arguments.kills, 1.0)
    print(
        f"{2 * arguments.kills} processes killed, {acknowledged:,} acknowledged decisions: "
        f"{lost} lost or changed, {doubled} doubled"
    )
    if lost or doubled:
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("orders")
    for name in ("features", "given", "truth", "test-features", "test-labels"):
        one.add_argument(f"--{name}", type=Path, required=True)
    one.add_argument("--without", type=Path, help="a feature table whose items are left out")
    one.add_argument("--draw", type=int, help="take so many of the items, others for each seed")
    one.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    one.add_argument("--points", type=float, nargs="+", default=list(POINTS))
    one.add_argument("--ways", nargs="*", help="only orders whose names contain one of these")
    one.add_argument("--quick", action="store_true", help="without logistic regression")
    one.add_argument("--no-accuracy", dest="accuracy", action="store_false")
    one.add_argument("--out", type=Path, help="lines of JSON are added to this file")
    one.set_defaults(run=orders)
    two = commands.add_parser("scale")
    two.add_argument("--items", type=int, default=1_000_000)
    two.add_argument("--classes", type=int, default=100)
    two.add_argument("--dimensions", type=int, default=128)
    two.add_argument("--folder", type=Path, help="for the generated folder")
    two.set_defaults(run=scale)
    three = commands.add_parser("use")
    three.add_argument("--folder", type=Path, required=True)
    three.add_argument("--turns", type=int, default=40)
    three.add_argument("--learn", action="store_true")
    three.set_defaults(run=use)
    four = commands.add_parser("kill")
    four.add_argument("--kills", type=int, default=20)
    four.add_argument("--store")
    four.set_defaults(run=kill)
    five = commands.add_parser("work")
    five.add_argument("--folder", type=Path, required=True)
    five.add_argument("--store", required=True)
    five.add_argument("--reviewer", required=True)
    five.add_argument("--number", type=int, required=True)
    five.set_defaults(run=work)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
