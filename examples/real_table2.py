"""ReaL's Table 2: loss × data × schedule, the median of three runs.

    python examples/real_table2.py --images photos/ --labels labels.csv --test-images test/ [--smoke]
        [--model resnet50] [--epochs 90 270 900] [--folds 10] [--rule agreement]

The labels are cleaned once by K-fold prediction (`reteach relabel clean`); then softmax and sigmoid
learn from all labels and from the kept ones, for each length of training. --smoke: handwritten digits
with a fifth of the labels wrong, two lengths of a few steps.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from reteach.commands.clean import Clean
from reteach.experiment.arena import OwnData
from reteach.experiment.compare import Plan, compare
from reteach.experiment.entrants import entrants
from reteach.options import Data, Model, Training

NAMES = {
    ("softmax", "all"): "Baseline",
    ("sigmoid", "all"): "+ Sigmoid",
    ("softmax", "clean"): "+ Clean",
    ("sigmoid", "clean"): "+ Both",
}


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


def accuracies(folder: Path) -> dict[str, list[float]]:
    """Entrant -> test accuracy of each seed, from a comparison's folder."""
    content = json.loads((folder / "comparison.json").read_text())
    return {row["name"]: row["values"]["accuracy"] for row in content["rows"] if row["method"]}


def main(options: argparse.Namespace) -> None:
    """Clean, compare on both data sets, print the table."""
    model = Model(options.model, device=options.device)
    training = Training(batch_size=options.batch_size, optimizer=options.optimizer)
    whole = Data(options.images, options.labels)
    cleaned = options.out / "clean.parquet"
    command = Clean(
        images=options.images,
        labels=options.labels,
        folds=options.folds,
        rule=options.rule,
        out=cleaned,
        model=model,
        training=replace(training, epochs=options.epochs[0]),
    )
    command.run()
    lengths = ",".join(f"{epochs:g}" for epochs in options.epochs)
    chosen, sweep = entrants(("softmax", "sigmoid"), model, training, (), (f"epochs={lengths}",))
    median: dict[tuple[str, str, float], float] = {}
    for kind, data in (("all", whole), ("clean", replace(whole, labels=cleaned))):
        plan = Plan(
            f"ReaL, Table 2: {kind} labels",
            "Softmax and sigmoid, trained for several lengths.",
            options.out / kind,
            OwnData(data, options.test_images, options.test_labels),
            chosen,
            tuple(range(options.seeds)),
            sweep,
            processes=options.processes,
        )
        compare(plan)
        for entrant in chosen:
            found = accuracies(plan.folder)[entrant.name]
            length = entrant.changed["epochs"]
            median[entrant.config.method, kind, length] = 100 * float(np.median(found))
    print(f"{'accuracy, median':18}", *(f"{epochs:>8g} epochs" for epochs in options.epochs))
    first = [median["softmax", "all", epochs] for epochs in options.epochs]
    for (method, kind), name in NAMES.items():
        values = [median[method, kind, epochs] for epochs in options.epochs]
        cells = [f"{v:5.1f} ({v - b:+5.1f})" for v, b in zip(values, first, strict=True)]
        print(f"{name:18}", *(f"{cell:>15}" for cell in cells))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--test-images")
    parser.add_argument("--test-labels", type=Path)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--epochs", type=float, nargs="+", default=[90.0, 270.0, 900.0])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--optimizer", default="sgd")
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
