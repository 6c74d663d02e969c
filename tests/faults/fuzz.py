"""Fuzzing of every reader: no traceback, no hang, no crash, no file elsewhere, no silently other result.

    python -m tests.faults.fuzz --cases 200000 --seed 1

Case n of a seed is always the same: ``--only n`` runs it alone, ``--start n`` goes on from there. The bytes
of what fails are kept in ``--keep``.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reteach.data.loading.decode import ImageError
from reteach.errors import UserError

from .mutations import mutated
from .readers import READERS, Reader

SECONDS = 5.0
"""Of processor time that a reader may take for a file of a few kilobytes."""
PATIENCE = 120.0
"""Seconds of silence after which a process is killed, whatever holds it."""
MEMORY = 4 << 30
"""Bytes of address space that reading may add."""


class Hang(BaseException):
    """A reader took too long."""


@dataclass(frozen=True)
class Failure:
    """A case that should not have ended like this."""

    case: int
    reader: str
    file: str
    what: str


class Bench:
    """The good files of each reader, made once."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root = root
        self.names = list(names)
        self.good: dict[str, tuple[Path, list[Path], Any]] = {}

    def files(self, name: str) -> tuple[Path, list[Path], Any]:
        """The folder of a reader, the files in it to break, and what is read of them when they are whole."""
        if name not in self.good:
            folder = self.root / "good" / str(len(self.good))
            folder.mkdir(parents=True)
            made = READERS[name].make(folder)
            whole = READERS[name].read(folder)
            self.good[name] = folder, made, whole
        return self.good[name]

    def run(self, case: int, seed: int) -> Failure | None:
        """One case: break one file, read, put it back."""
        chance = random.Random(f"{seed}/{case}")
        name = self.names[case % len(self.names)]
        reader = READERS[name]
        folder, made, whole = self.files(name)
        target = made[chance.randrange(len(made))]
        data = target.read_bytes()
        broken = mutated(data, target.suffix, chance, reader.sealed)
        before = _there(folder)
        target.write_bytes(broken)
        try:
            what = _ends_well(reader, folder, whole, broken != data)
        finally:
            target.write_bytes(data)
            for extra in _there(folder) - before:
                extra.unlink(missing_ok=True)
        return None if what is None else Failure(case, name, target.name, what)


def _there(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def _ends_well(reader: Reader, folder: Path, whole: Any, changed: bool) -> str | None:
    """None, or what went wrong."""
    try:
        with _time_limit():
            found = reader.read(folder)
    except (UserError, ImageError) as error:
        if "\n" in str(error):
            return f"an error of several lines: {str(error)[:200]!r}"
        return None
    except Hang:
        return f"took more than {SECONDS:g} s"
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)
        ours = [f for f in at if "/src/reteach/" in f.filename] or at[-1:]
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        return f"{type(error).__name__} at {where}: {' '.join(str(error).split())[:150]}"
    if reader.sealed and changed and found != whole:
        return "another result was read, and a checksum could tell"
    return None


class _time_limit:
    """Raise :class:`Hang` after so much processor time."""

    def __enter__(self) -> None:
        signal.signal(signal.SIGPROF, self._late)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _late(self, *_: object) -> None:
        raise Hang


def fuzz(
    cases: Sequence[int], seed: int, names: Sequence[str] | None = None, keep: Path | None = None
) -> Iterator[Failure]:
    """The failures among some cases, each run in a process that may crash."""
    names = list(READERS) if names is None else names
    with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
        at = 0
        while at < len(cases):
            for failure in _in_a_process(Path(root), cases[at:], seed, names):
                if failure is not None:
                    if keep is not None and failure.file:
                        _keep(keep, failure, seed, names)
                    yield failure
                at += 1


def _in_a_process(
    root: Path, cases: Sequence[int], seed: int, names: Sequence[str]
) -> Iterator[Failure | None]:
    """What came of one case after the other, in a forked process, until it is through or has crashed."""
    from multiprocessing import get_context

    context = get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(root, theirs, cases, seed, names))
    process.start()
    theirs.close()
    done = 0
    try:
        while done < len(cases):
            try:
                silent = not ours.poll(PATIENCE)
                failure = None if silent else ours.recv()
            except EOFError:
                process.join()
                yield _crash(cases[done], names, f"the process ended with {process.exitcode}")
                return
            if silent:
                process.kill()
                yield _crash(cases[done], names, f"silent for {PATIENCE:g} s")
                return
            done += 1
            yield failure
    finally:
        process.kill()
        process.join()


def _crash(case: int, names: Sequence[str], what: str) -> Failure:
    return Failure(case, names[case % len(names)], "", what)


def _serve(root: Path, pipe: Any, cases: Sequence[int], seed: int, names: Sequence[str]) -> None:
    import torch

    torch.set_num_threads(1)
    place = root / "process"
    shutil.rmtree(place, ignore_errors=True)
    (place / "cwd").mkdir(parents=True)
    os.chdir(place / "cwd")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    bench = Bench(place, names)
    around = {root, place}
    for case in cases:
        failure = bench.run(case, seed)
        outside = [e for where in around for e in where.iterdir() if e.name not in _KNOWN]
        inside = list((place / "cwd").iterdir())
        if failure is None and (outside or inside):
            what = f"wrote elsewhere: {[e.name for e in (*outside, *inside)]}"
            failure = Failure(case, names[case % len(names)], "", what)
        pipe.send(failure)
    os._exit(0)


_KNOWN = {
    *("process", "cwd", "good", "http.sqlite", "http.sqlite-wal", "http.sqlite-shm"),
}


def _keep(folder: Path, failure: Failure, seed: int, names: Sequence[str]) -> None:
    """Write the bytes of a failing case."""
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), names)
        chance = random.Random(f"{seed}/{failure.case}")
        _, made, _ = bench.files(failure.reader)
        target = made[chance.randrange(len(made))]
        data = target.read_bytes()
        broken = mutated(data, target.suffix, chance, READERS[failure.reader].sealed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{seed}-{failure.case}-{target.name}").write_bytes(broken)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--readers", nargs="*", help=", ".join(READERS))
    parser.add_argument("--keep", type=Path, default=Path("/tmp/fuzz-failures"))
    given = parser.parse_args()
    names = given.readers or list(READERS)
    cases = range(given.start, given.cases) if given.only is None else [given.only]
    began, kinds = time.monotonic(), Counter[str]()
    for failure in fuzz(cases, given.seed, names, given.keep):
        kinds[failure.reader] += 1
        print(f"case {failure.case}: {failure.reader}, {failure.file}: {failure.what}", flush=True)
    took = time.monotonic() - began
    print(f"{len(cases):,} cases of seed {given.seed} over {len(names)} readers in {took:.0f} s: "
          f"{sum(kinds.values())} failures {dict(kinds) if kinds else ''}")  # fmt: skip
    print(f"failing files: {given.keep}" if kinds else "nothing failed")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
