"""Do two checkouts train the same weights? For changes that are to move code and no number.

    python benchmarks/same_numbers.py OLD NEW [--demo]

Each checkout trains every method of its own contract table (``tests/…/toys.py``) for 12 steps, whole and in
two parts; with ``--demo`` also ``reteach demo``. Final weights and the demo's numbers must be equal bit for
bit. Prints what differs and returns 1, or one line and 0. On one core: about a minute per checkout, and three
more with the demo.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEPS = 12
SKIPPED = {"configuration", "format", "version", "started", "finished", "seconds", "minutes"}

TRAIN = f"""
import hashlib, json, sys
import torch
import toys
from reteach.engine.run import Run

def digests(name, parts):
    run = Run(None, seed=3, quiet=True, snapshot_seconds=0)
    algorithm, stream = toys.ALGORITHMS[name](), toys.STREAMS.get(name, toys.stream)()
    weights = toys.weights(run.train("train", algorithm, stream, steps={STEPS}, parts=parts))
    raw = (t.detach().cpu().contiguous().flatten().view(torch.uint8).numpy() for t in weights.values())
    return sorted(hashlib.blake2b(r.tobytes(), digest_size=8).hexdigest() for r in raw)

torch.set_num_threads(1)
print(json.dumps({{n: [digests(n, p) for p in (1, 2)] for n in toys.ALGORITHMS}}))
"""


def main() -> int:
    """Train in both checkouts and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="a checkout, as git worktree add makes one")
    parser.add_argument("new", type=Path, help="another")
    parser.add_argument("--demo", action="store_true", help="also run reteach demo in both")
    options = parser.parse_args()
    old, new = (numbers(tree.resolve(), options.demo) for tree in (options.old, options.new))
    differing = sorted(n for n in old.keys() & new.keys() if old[n] != new[n])
    for name in differing:
        print(f"differs: {name}", *list(places(old[name], new[name]))[:5], sep="\n  ")
    for name in sorted(old.keys() ^ new.keys()):
        print(f"only in one of the two: {name}")
    same = len(old.keys() & new.keys()) - len(differing)
    print(f"{same} of {len(old.keys() | new.keys())} the same, bit for bit")
    return int(bool(differing))


def numbers(tree: Path, demo: bool) -> dict[str, Any]:
    """Digests of the final weights by method, and the demo's results."""
    found: dict[str, Any] = json.loads(python(tree, "-c", TRAIN).splitlines()[-1])
    if demo:
        with tempfile.TemporaryDirectory() as folder:
            arguments = ("--seeds", "1", "--steps", "300", "--processes", "1", "--out", folder)
            python(tree, "-m", "reteach", "demo", *arguments)
            for file in sorted(Path(folder).rglob("*.json")):
                if file.name in ("results.json", "comparison.json"):
                    found[f"demo {file.name}"] = numeric(json.loads(file.read_text()))
    return found


def places(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Where two values differ, as paths with both values."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for name in old:
            yield from places(old[name], new[name], f"{path}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from places(*pair, f"{path}[{number}]")
    elif old != new:
        yield f"{path}: {str(old)[:80]} there, {str(new)[:80]} here"


def numeric(value: Any) -> Any:
    """The same without times, and without the names of settings."""
    if isinstance(value, dict):
        return {k: numeric(v) for k, v in value.items() if k not in SKIPPED}
    return [numeric(v) for v in value] if isinstance(value, list) else value


def python(tree: Path, *words: str) -> str:
    """What Python prints in a checkout."""
    paths = [tree / "src", tree / "tests" / "helpers", tree / "tests"]
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(f"{tree}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
