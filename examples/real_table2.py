"""ReaL's Table 2: loss × data × schedule, the median of three runs.

    python examples/real_table2.py --images photos/ --labels labels.csv --test-images test/ [--smoke]
        [--test-labels real.parquet --test-original test.csv]
        [--model resnet50] [--epochs 90 270 900] [--folds 10] [--rule agreement]
        [--lr 0.05 --weight-decay 1e-4 --set sigmoid.class_sum=true]

Feature tables of `reteach embed` are images, too: --model linear.

The labels are cleaned once by K-fold prediction (`reteach relabel clean`); then `reteach compare
softmax sigmoid --also-labels clean.parquet --sweep epochs=90,270,900` trains with both losses on all
labels and on the kept ones, for each length. With --test-original both halves of the table come out:
original and ReaL accuracy. --smoke: handwritten digits with a fifth of the labels wrong, short.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from reteach.cli import run
from reteach.options.compare import CompareOptions
from reteach.options.relabel import CleanOptions
from reteach.options.shared import Data, Model, Training

NAMES = {
    ("softmax", "all"): "Baseline",
    ("sigmoid", "all"): "+ Sigmoid",
    ("softmax", "clean"): "+ Clean",
    ("sigmoid", "clean"): "+ Both",
}
METRICS = {"accuracy": "accuracy", "real_accuracy": "ReaL accuracy"}


def digits(folder: Path) -> None:
    """digits.npz with given labels for training, test.npz with true ones."""
    from sklearn.datasets import load_digits

    pack = load_digits()
    images, true = (pack.images * 15.9).astype(np.uint8), pack.target
    noise = np.random.default_rng(0)
    wrong = noise.random(len(true)) < 0.2
    given = np.where(wrong, (true + noise.integers(1, 10, len(true))) % 10, true)
    np.savez(folder / "digits.npz", images=images[:600], labels=given[:600])
    np.savez(folder / "test.npz", images=images[1200:], labels=true[1200:])


def main(options: argparse.Namespace) -> None:
    """Clean, compare on both label tables, print the table."""
    model = Model(options.model, device=options.device)
    training = Training(
        batch_size=options.batch_size,
        optimizer=options.optimizer,
        lr=options.lr,
        weight_decay=options.weight_decay,
    )
    cleaned = options.out / "clean.parquet"
    cleaning = CleanOptions(
        images=options.images,
        labels=options.labels,
        folds=options.folds,
        rule=options.rule,
        out=cleaned,
        model=model,
        training=replace(training, epochs=options.epochs[0]),
    )
    print(*run(cleaning).lines(), sep="\n")
    folder = options.out / "comparison"
    comparison = CompareOptions(
        ("softmax", "sigmoid"),
        data=Data(options.images, options.labels),
        model=model,
        training=training,
        test_images=options.test_images,
        test_labels=options.test_labels,
        test_original=options.test_original,
        also_labels=(cleaned,),
        set=tuple(options.set),
        seeds=options.seeds,
        sweep=(f"epochs={','.join(f'{epochs:g}' for epochs in options.epochs)}",),
        early=False,
        out=folder,
        processes=options.processes,
    )
    print(*run(comparison).lines(), sep="\n")
    show(json.loads((folder / "comparison.json").read_text())["rows"], options.epochs)


def show(rows: list[dict[str, Any]], lengths: list[float]) -> None:
    """The paper's table: medians, and what they gain over the shortest or the same baseline."""
    for metric, title in METRICS.items():
        medians: dict[tuple[str, str, float], float] = {}
        for row in rows:
            if row["method"] and None not in row["values"].get(metric, [None]):
                data = "clean" if row["settings"]["labels"] == "clean" else "all"
                key = (row["method"], data, float(row["settings"]["epochs"]))
                medians[key] = 100 * float(np.median(row["values"][metric]))
        if not medians:
            continue
        print(f"{title + ', median':22}", *(f"{epochs:>8g} epochs" for epochs in lengths))
        first = medians["softmax", "all", lengths[0]]
        for (method, data), name in NAMES.items():
            values = [medians[method, data, epochs] for epochs in lengths]
            cells = [f"{value:5.1f} ({value - first:+5.1f})" for value in values]
            print(f"{name:22}", *(f"{cell:>15}" for cell in cells))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--test-images")
    parser.add_argument("--test-labels", type=Path)
    parser.add_argument("--test-original", type=Path)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--epochs", type=float, nargs="+", default=[90.0, 270.0, 900.0])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--weight-decay", type=float)
    parser.add_argument("--set", nargs="*", default=[], help="sigmoid.class_sum=true, …")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--rule", default="agreement")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/real-table2"))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if not options.smoke:
        main(options)
    else:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            digits(folder)
            options.images, options.test_images = f"{folder}/digits.npz", f"{folder}/test.npz"
            options.model, options.optimizer, options.device = "reteach_tiny", "adam", "cpu"
            options.out, options.epochs, options.folds = folder / "out", [2.0, 4.0], 2
            options.batch_size, options.seeds = 32, 1
            main(options)
