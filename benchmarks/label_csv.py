"""Label tables in CSV: reading one beside pandas, each in a process of its own.

python benchmarks/label_csv.py --rows 10000000
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CODE = {
    "pandas": "import pandas as p; f = p.read_csv",
    "pandas, Python texts": "import pandas as p; f = lambda w: p.read_csv(w, dtype=object)",
    "reteach": "import pyarrow.csv; from reteach.tables import read_labels as f",
}


def write(file: Path, rows: int) -> None:
    """A table of one label each, out of a thousand classes."""
    with file.open("w") as out:
        out.write("item,labels\n")
        out.writelines(f"images/{n:09}.jpg,class {n * 7919 % 1000}\n" for n in range(rows))


def measure(code: str, file: Path) -> tuple[float, float, float]:
    """(seconds of the wall, of processors, peak GB) of one reading, imports left out."""
    timed = (
        f"{code}\nimport time\na, b = time.perf_counter(), time.process_time()\nf({str(file)!r})\n"
        "print(time.perf_counter() - a, time.process_time() - b)"
    )
    process = subprocess.Popen([sys.executable, "-c", timed], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read().split()
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    return float(said[0]), float(said[1]), used.ru_maxrss / 1e6


def main() -> None:
    """Print one line per reader, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "labels.csv"
        write(file, given.rows)
        best = {}
        for name, code in CODE.items():
            found = [measure(code, file) for _ in range(given.repeats)]
            wall, cpu, peak = (min(column) for column in zip(*found, strict=True))
            best[name] = cpu
            print(
                f"{name}: {given.rows:,} rows, {wall:.2f} s, {cpu:.2f} s of CPU, peak {peak:.2f} GB"
            )
        print(
            f"reteach: {best['reteach'] / best['pandas']:.2f} × the CPU time of pandas, "
            f"{best['reteach'] / best['pandas, Python texts']:.2f} × that with Python texts"
        )


if __name__ == "__main__":
    main()
