"""Machines that have a store in common and no disk: each a working folder, a scratch folder and a cache."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from loopback_s3 import Store
from nodes import free_port

PER_MACHINE = 2
"""Processes that train on each."""
_END = 900.0
"""Seconds after which a command counts as hanging."""


class Machine:
    """Processes that are started here know the store, and nothing of the other machines' disks."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.scratch = folder / "scratch"
        (folder / "work").mkdir(parents=True, exist_ok=True)
        self.environment = {
            **os.environ,
            **store.environment,
            "RETEACH_SCRATCH": str(self.scratch),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "RAY_TMPDIR": tempfile.mkdtemp(prefix="ray-"),  # names of sockets are short
            "MPLCONFIGDIR": str(folder.parent.parent / "fonts"),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, words: list[str], *python: str) -> subprocess.Popen[bytes]:
        """``reteach`` with these words; what it says goes to a file."""
        with open(self.folder / "said.txt", "ab") as said:
            return subprocess.Popen(
                [sys.executable, *python, "-m", "reteach", *words],
                cwd=self.folder / "work",
                env=self.environment,
                stdout=said,
                stderr=said,
            )

    def said(self) -> str:
        """The end of what the processes here said."""
        file = self.folder / "said.txt"
        return file.read_text(errors="replace")[-6000:] if file.exists() else ""

    def processes(self, *told: bytes) -> Iterator[int]:
        """Those that were started here, by any way, whose command line or environment says all of this."""
        mine = b"RETEACH_SCRATCH=" + str(self.scratch).encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                around = (entry / "environ").read_bytes().split(b"\0")
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mine in around and all(t in around or t in line for t in told):
                yield int(entry.name)

    def end(self) -> None:
        """Kill what is left here."""
        for process in self.processes():
            kill(process)
        shutil.rmtree(self.environment["RAY_TMPDIR"], ignore_errors=True)


def kill(process: int) -> bool:
    """``kill -9``; whether it was there."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def machines(folder: Path, store: Store, count: int = 2) -> Iterator[list[Machine]]:
    """Some machines, on which nothing runs any more at the end."""
    every = [Machine(folder / f"machine{number}", store) for number in range(count)]
    try:
        yield every
    finally:
        for machine in every:
            machine.end()


def torchrun(every: list[Machine], words: list[str]) -> list[subprocess.Popen[bytes]]:
    """The command, in two processes of each machine, which begin again when one is lost."""
    told = f"-m torch.distributed.run --nnodes {len(every)} --nproc-per-node {PER_MACHINE} --max-restarts 3 "
    told += f"--rdzv-backend c10d --rdzv-id run --rdzv-endpoint 127.0.0.1:{free_port()} "
    told += "--local-addr 127.0.0.1"
    return [machine.start(words, *told.split()) for machine in every]


def ended(
    begun: list[subprocess.Popen[bytes]], watch: Callable[[], None] = lambda: None
) -> list[int]:
    """The exit codes; ``watch`` is called again and again until then."""
    end = time.monotonic() + _END
    while any(process.poll() is None for process in begun):
        watch()
        time.sleep(0.02)
        if time.monotonic() > end:
            for process in begun:
                process.kill()
            raise AssertionError("they wait for each other")
    return [process.wait() for process in begun]
