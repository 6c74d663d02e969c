"""Memory and time of `reteach relabel propose`, for more and more models.

    python benchmarks/propose.py [--items 10000] [--classes 1000] [--models 1 2 4]

Score tables of all items × classes, probabilities and logits of random networks; each number of models in
a process of its own. Peak memory must not grow with the number of models: tables are read one at a time,
in batches of rows, and only the largest 3 · N pairs of each are kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from reteach.labels import Single
from reteach.scores.table import ScoreWriter
from reteach.tables import LabelTable, write_labels

BLOCK = 500  # items written at a time


def write_tables(folder: Path, items: int, classes: int, models: int) -> None:
    """labels.parquet, and model-0.parquet, model-1.parquet …"""
    names, rng = [f"{i:08d}.jpg" for i in range(items)], np.random.default_rng(0)
    kinds = tuple(f"class {c}" for c in range(classes))
    truth = rng.integers(0, classes, items)
    write_labels(folder / "labels.parquet", LabelTable(tuple(names), Single(truth, kinds)))
    for model in range(models):
        with ScoreWriter(folder / f"model-{model}.parquet", kinds, logits=True) as out:
            for start in range(0, items, BLOCK):
                part = names[start : start + BLOCK]
                logits = rng.normal(size=(len(part), classes)).astype(np.float32)
                logits[np.arange(len(part)), truth[start : start + BLOCK]] += 5
                scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
                out.write_dense(part, scores, logits)


def measured(folder: Path, models: int) -> tuple[float, float]:
    """(seconds of CPU, peak memory in MB) of the command."""
    tables = [str(folder / f"model-{model}.parquet") for model in range(models)]
    given = ["--labels", str(folder / "labels.parquet"), "--out", str(folder / "out.parquet")]
    words = [sys.executable, "-m", "reteach", "relabel", "propose", "--scores", *tables, *given]
    child = os.posix_spawn(sys.executable, words, os.environ)
    _, status, used = os.wait4(child, 0)
    if status:
        sys.exit(f"the command failed with status {status}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main(items: int, classes: int, models: list[int]) -> None:
    """A line for each number of models."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tables(folder, items, classes, max(models))
        for number in models:
            seconds, peak = measured(folder, number)
            print(
                f"{number} models of {items:,} × {classes:,}: {seconds:.1f} s of CPU, peak {peak:.0f} MB; "
                f"all scores and logits in memory would be {8 * number * items * classes / 2**20:.0f} MB"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--models", type=int, nargs="+", default=[1, 2, 4])
    main(**vars(parser.parse_args()))
