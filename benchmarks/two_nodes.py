"""Every method over two "machines" of two processes each, beside one process: the largest difference.

    python benchmarks/two_nodes.py                      # all methods
    python benchmarks/two_nodes.py mile softmax --kill  # a rank is killed, torchrun starts all again

Two torchruns have a working folder each. The second machine has its own copy of the images and nothing else;
the run folders are on the first one's disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = {
    "mile": "one", "softmax": "one", "sigmoid": "one", "mixup": "one", "elr": "one", "distill": "one",
    "noisy-student": "one", "semi": "one", "nct": "one", "dml": "one", "variability": "one",
    "ensemble": "one", "co-teaching": "one", "m-correction": "one", "divide-mix": "one",
    "asl": "sets", "an-ls": "one", "wan": "one", "epr": "one", "role": "one", "em-apl": "one",
    "large-loss": "one", "cpsd": "sets",
}  # fmt: skip
MORE = {
    "epr": ["--expected", "1.5"],
    "role": ["--expected", "1.5"],
    "semi": ["--unlabeled", "pile", "--per-class", "4", "--top", "2"],
    "noisy-student": ["--unlabeled", "pile", "--dropout", "0"],
    "distill": ["--teacher", "teacher"],
    "mile": ["--k-t", "4"],
    "cpsd": ["--subsets", "2"],
}
STEPS = 20
QUICK = "--device cpu --workers 0 --batch-size 16 --model reteach_tiny --eval-every 10"


def photos(folder: Path) -> None:
    """Three classes of small pictures, a table of label sets, and pictures without labels."""
    draw = np.random.default_rng(0)
    lines = ["item,labels"]
    for number, name in enumerate(("dark", "grey", "light")):
        for at in range(16):
            for place in ("images", "pile"):
                pixels = (draw.integers(0, 80, (8, 8, 3)) + 60 * number).astype(np.uint8)
                file = folder / place / (name if place == "images" else "") / f"{name}{at}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
            also = ("|grey" if name == "dark" else "|dark") if at % 3 == 0 else ""
            lines.append(f"{name}/{name}{at}.png,{name}{also}")
    (folder / "sets.csv").write_text("\n".join(lines) + "\n")


def words(method: str) -> list[str]:
    """The command of a method."""
    labels = ["--labels", "sets.csv"] if LABELS[method] == "sets" else []
    steps = str(STEPS * (2 if method in ("semi", "cpsd", "noisy-student") else 1))
    given = ["--images", "images", *labels, "--steps", steps, "--out", f"runs/{method}"]
    return ["train", method, *given, *QUICK.split(), *MORE.get(method, [])]


def work(methods: list[str]) -> int:
    """In each process: all the methods, one after the other."""
    from reteach.cli import main

    codes = {method: main([*words(method), "--snapshot-seconds", "0"]) for method in methods}
    failed = [method for method, code in codes.items() if code]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def port() -> int:
    """A free one."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def machine(folder: Path, methods: list[str], at: int) -> subprocess.Popen[str]:
    """torchrun on one of the machines."""
    told = "--nnodes 2 --nproc-per-node 2 --max-restarts 3 --rdzv-backend c10d --rdzv-id two"
    told += f" --rdzv-endpoint 127.0.0.1:{at} --local-addr 127.0.0.1"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *told.split(),
        __file__,
        "--work",
        *methods,
    ]
    where = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    with open(folder / "said.txt", "w") as said:
        return subprocess.Popen(command, cwd=folder, env=where, stdout=said, stderr=said, text=True)


def kill_a_rank(folder: Path, run: Path) -> None:
    """kill -9 of a process that trains on the second machine, after a snapshot."""
    while not list(run.rglob("snapshot.pt")):
        time.sleep(0.02)
    for status in Path("/proc").glob("[0-9]*/environ"):
        try:
            told = status.read_bytes().split(b"\0")
            here = os.readlink(status.parent / "cwd")
        except OSError:
            continue
        if here == str(folder) and b"LOCAL_RANK=1" in told:
            os.kill(int(status.parent.name), signal.SIGKILL)
            print("killed a rank", file=sys.stderr)
            return


def numbers(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


def difference(one: Path, other: Path) -> float:
    """The largest of a logged number; infinite where other things were logged."""
    a, b = numbers(one), numbers(other)
    worst = 0.0 if len(a) == len(b) else float("inf")
    for x, y in zip(a, b, strict=False):
        if x.keys() != y.keys():
            return float("inf")
        for name, value in x.items():
            if isinstance(value, float) and isinstance(y[name], float):
                worst = max(worst, abs(value - float(str(y[name]))))
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=[])
    parser.add_argument("--work", action="store_true")
    parser.add_argument("--kill", action="store_true")
    asked = parser.parse_args()
    methods = asked.methods or list(LABELS)
    if asked.work:
        return work(methods)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        photos(root / "alone")
        alone = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(root / "cache")}
        if "distill" in methods:
            given = ["teacher" if word == "runs/softmax" else word for word in words("softmax")]
            teacher = [sys.executable, "-m", "reteach", *given]
            subprocess.run(teacher, cwd=root / "alone", env=alone, check=True, capture_output=True)
        machines = [root / "first", root / "second"]
        for folder in machines:
            shutil.copytree(root / "alone", folder)
        at = port()
        begun = [machine(folder, methods, at) for folder in machines]
        if asked.kill:
            kill_a_rank(machines[1], machines[0] / "runs" / methods[0])
        subprocess.run(
            [sys.executable, __file__, "--work", *methods], cwd=root / "alone", env=alone, check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        codes = [process.wait() for process in begun]
        if any(codes):
            for folder in machines:
                print((folder / "said.txt").read_text()[-4000:], file=sys.stderr)
            return 1
        assert not (machines[1] / "runs").exists()
        worst = {m: difference(root / "alone/runs" / m, machines[0] / "runs" / m) for m in methods}
    for method, value in worst.items():
        print(f"{method:14} {value:.1e}")
    return 0 if max(worst.values()) <= 1e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
