"""Label tables in CSV: reading one beside pandas, each in a process of its own.

    python -m benchmarks "label tables"
    python -m benchmarks.label_csv --rows 10000000 --rounds 5

pandas has two readers: its own, and Arrow's (``engine="pyarrow"``). ``Arrow columns`` is the second with
``dtype_backend="pyarrow"``, in which texts stay in Arrow's memory; ``Python texts`` is the first with a
Python object per cell, which is what reteach's items are.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.fresh import contender, fresh, here, import_first
from benchmarks.house import Contender, Contest

ROWS = 1_000_000
PANDAS = {
    "pandas": {},
    "pandas, Python texts": {"dtype": "object"},
    "pandas, Arrow's engine": {"engine": "pyarrow"},
    "pandas, Arrow's engine and columns": {"engine": "pyarrow", "dtype_backend": "pyarrow"},
}
OURS = ("pyarrow.csv", "reteach.tables")
THEIRS = ("pandas", "pyarrow.csv")


def write(file: Path, rows: int, mixed: bool = False) -> Path:
    """A table of one label each, out of a thousand classes; its items in order, or in none."""
    step = 7_368_787 if mixed else 1  # a prime: each number comes once
    with file.open("w") as out:
        out.write("item,labels\n")
        out.writelines(
            f"images/{n * step % rows:09}.jpg,class {n * 7919 % 1000}\n" for n in range(rows)
        )
    return file


def ours(file: str) -> None:
    """Read it as a label table."""
    from reteach.tables import read_labels

    read_labels(file)


def pandas(file: str, how: str) -> None:
    """Read it as a data frame."""
    import pandas as pd

    pd.read_csv(file, **PANDAS[how])


def contest(folder: Path) -> Contest:
    """A row: time and memory."""
    file = write(folder / "labels.csv", ROWS)

    def peer(how: str) -> Contender:
        import_first(*THEIRS)
        return contender(here(__file__), "pandas", file, how, needs=THEIRS)

    peers: dict[str, Callable[[], Contender]] = {how: partial(peer, how) for how in PANDAS}
    return Contest(
        f"reading {ROWS:,} label rows from CSV: every class checked, repeated items refused",
        contender(here(__file__), "ours", file, needs=OURS),
        peers,
        {("pandas", "s"): 0.5},
    )


def main() -> None:
    """Print one line per reader: medians, and the lowest and highest ratio of a round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="all readers take turns in each")
    parser.add_argument("--mixed", action="store_true", help="the items are in no order")
    given = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("reteach", *PANDAS)}
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder) / "labels.csv", given.rows, given.mixed)
        for _ in range(given.rounds):
            found["reteach"].append(fresh(here(__file__), "ours", file, needs=OURS))
            for how in PANDAS:
                found[how].append(fresh(here(__file__), "pandas", file, how, needs=THEIRS))
    for name, rounds in found.items():
        print(name)
        for of, unit in (("s", "s of CPU"), ("wall", "s"), ("MB", "MB")):
            ratios = [a[of] / b[of] for a, b in zip(found["reteach"], rounds, strict=True)]
            print(
                f"    {median(r[of] for r in rounds):8.2f} {unit:9} reteach takes {median(ratios):.2f} × "
                f"({min(ratios):.2f} … {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
