"""One table of ratios beside the peers.

python -m benchmarks                             # all rows, some minutes on one core
python -m benchmarks consensus "image input"     # some of them
python -m benchmarks --write docs/benchmarks.md  # the page of the documentation
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from benchmarks.house import Line, alone, as_json, measured
from benchmarks.page import page, text
from benchmarks.rows import ROWS, chosen, contest

LIMIT = 120
"""Seconds of a processor after which a row is given up, whatever else the machine does."""


def main() -> int:
    """Print the table; 1 where a row failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )  # fmt: skip
    parser.add_argument("rows", nargs="*", help=", ".join(ROWS))
    parser.add_argument("--seconds", type=float, default=6, help="for the rounds of each row")
    parser.add_argument("--write", type=Path, help="a Markdown page")
    parser.add_argument("--lines", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    rows = chosen(given.rows)
    if given.lines:
        return _lines(rows[0], given.seconds)
    began = time.monotonic()
    lines: list[Line] = []
    for row in rows:
        print(f"{row} …", file=sys.stderr, flush=True)
        before = getrusage(RUSAGE_CHILDREN)
        found = alone(row, given.seconds, LIMIT)
        after = getrusage(RUSAGE_CHILDREN)
        took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{text(found)}\n({took:.0f} s of CPU)", file=sys.stderr, flush=True)
        lines += found
    print(text(lines))
    if given.write is not None:
        words = ["python -m benchmarks", *(f'"{row}"' for row in given.rows)]
        words += (
            []
            if given.seconds == parser.get_default("seconds")
            else [f"--seconds {given.seconds:g}"]
        )
        minutes = (time.monotonic() - began) / 60
        given.write.write_text(page(lines, f"{' '.join(words)} --write {given.write}", minutes))
    return int(any(line.note.startswith("failed") for line in lines))


def _lines(row: str, seconds: float) -> int:
    """Measure one row on one core, and write its lines as JSON."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
        print(as_json(measured(row, contest(row, Path(folder)), seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
