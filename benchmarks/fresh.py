"""A function in a process of its own: its processor seconds and its peak memory."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.house import ONE_THREAD, ROOT, Contender

_CODE = """
import importlib, json, pickle, sys, time
module, name, needs, arguments = pickle.load(sys.stdin.buffer)
try:
    for need in needs:
        importlib.import_module(need)
except ImportError as error:
    print(json.dumps({"missing": error.name or str(error)}))
    raise SystemExit
work = getattr(importlib.import_module(module), name)
began, start = time.monotonic(), time.process_time()
work(*arguments)
used, wall = time.process_time() - start, time.monotonic() - began
high = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1]
print(json.dumps({"s": used, "wall": wall, "MB": int(high) / 1024}))
"""


def fresh(
    module: str,
    name: str,
    *arguments: object,
    needs: Sequence[str] = (),
    threads: bool = False,
) -> dict[str, float]:
    """``s`` of processors, ``wall`` seconds and ``MB`` of peak memory of ``module.name(*arguments)``.

    Args:
        needs: modules that are imported before the clock starts; their memory counts.
        threads: as many as there are cores; else one.

    Raises:
        ImportError: one of them is not installed.
    """
    told = pickle.dumps((module, name, list(needs), arguments))
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({} if threads else ONE_THREAD)
    done = subprocess.run(
        [sys.executable, "-c", _CODE],
        input=told, capture_output=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{module}.{name}: {done.stderr.decode()[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if "missing" in found:
        raise ImportError(name=found["missing"])
    return dict(found)


def contender(module: str, name: str, *arguments: object, needs: Sequence[str] = ()) -> Contender:
    """The same as a contender of a row: seconds and memory."""

    def run(number: int) -> dict[str, float]:
        found = fresh(module, name, *arguments, needs=needs)
        return {"s": found["s"], "MB": found["MB"]}

    return run


def import_first(*needs: str) -> None:
    """Find out now whether these are installed.

    Raises:
        ImportError: one of them is not.
    """
    fresh("time", "sleep", 0, needs=needs)


def here(file: str) -> str:
    """The name of a benchmark's module from its file."""
    return f"benchmarks.{Path(file).stem}"
