"""NCT and its rivals on features with wrong labels, each at a rate of its own.

    python examples/nct_rivals.py TRAIN.features TEST.features --labels noisy.csv
        --test-labels test.csv --forget 0.4 [--rates …] [--seeds 5] [--only NAME …] [--out DIR]
    python examples/nct_rivals.py --smoke

Every method has 20 epochs of backward passes (of two networks each makes ten), a linear layer and the
same grid of rates. A tenth of the images is held out; what chooses a method's rate, and NCT's r_max
beside it, is the accuracy on their *given* labels, with one seed that is not judged. No true label has a
say, but for co-teaching's --forget, the share of wrong labels, which its paper takes as known.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pipeline import PILOT, made_up

from reteach.cli import run
from reteach.options import train as methods
from reteach.options.runs import EvaluateOptions, RunEvaluationOptions
from reteach.options.shared import Data, Output, Training

R_MAX = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
METHODS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "mixup": {},
    "elr": {},
    "m_correction": {},
    "ensemble": {},
    "nct": {},
    "co_teaching": {"forget_epochs": 3.0},
    "divide_mix": {"plain_share": 0.2, "unlabeled_epochs": 2.0},
}
"""With the lengths of warm-up that fit ten epochs; as in the table at one rate."""


def accuracy(folder: Path, told: argparse.Namespace | None = None) -> float:
    """In percent: on the held-out given labels, or on the test images."""
    if told is None:
        found = json.loads((folder / "evaluation.json").read_text())["val"]
        return 100 * float(next(iter(found.values()))["metrics"]["accuracy"])
    how = RunEvaluationOptions(str(told.test), device="cpu", workers=0)
    judged = run(EvaluateOptions((folder,), told.test_labels, run_options=how)).metrics
    return 100 * float(next(iter(judged.values()))["accuracy"])


def fit(told: argparse.Namespace, method: str, lr: float, seed: int, **more: Any) -> Path:
    """One training."""
    words = "-".join([method, f"{lr:g}", *(f"{v:g}" for v in more.values()), str(seed)])
    out, options = told.out / words, getattr(methods, method)
    if not (out / "evaluation.json").exists():
        settings = replace(options().settings, **METHODS[method], **more)
        if method == "co_teaching":
            settings = replace(settings, forget=told.forget)
        run(
            options(
                settings=settings,
                data=Data(str(told.train), told.labels, val_fraction=0.1),
                training=Training(epochs=told.epochs, lr=lr, weight_decay=1e-4, seed=seed),
                output=Output(out),
            )
        )
    return out


def chosen(told: argparse.Namespace, method: str) -> dict[str, float]:
    """The rate (of NCT, and the r_max at it) with the best accuracy on held-out given labels."""
    rates = {lr: accuracy(fit(told, method, lr, PILOT)) for lr in told.rates}
    lr = max(rates, key=lambda rate: rates[rate])
    if method != "nct":
        return {"lr": lr}
    shares = {r: accuracy(fit(told, method, lr, PILOT, target_variability=r)) for r in R_MAX}
    return {"lr": lr, "target_variability": max(shares, key=lambda r: shares[r])}


def main(told: argparse.Namespace) -> None:
    print(f"{'':14}{'rate':>8}{'r_max':>7}{'accuracy':>16}{'beside softmax':>18}")
    base: list[float] = []
    for method in [m for m in METHODS if not told.only or m in told.only]:
        at = chosen(told, method)
        found = [accuracy(fit(told, method, seed=seed, **at), told) for seed in range(told.seeds)]
        base = base or found
        gain = np.subtract(found, base)
        cells = (f"{np.mean(values):{sign}.1f} ± {np.std(values, ddof=min(1, len(values) - 1)):.1f}"
                 for values, sign in ((found, ""), (gain, "+")))  # fmt: skip
        rest = "".join(f"{cell:>{width}}" for cell, width in zip(cells, (16, 18), strict=True))
        r_max = f"{at['target_variability']:g}" if "target_variability" in at else "–"
        print(f"{method:14}{at['lr']:>8g}{r_max:>7}{rest}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path, nargs="?")
    parser.add_argument("test", type=Path, nargs="?")
    for flag in ("labels", "test-labels"):
        parser.add_argument(f"--{flag}", type=Path)
    parser.add_argument("--forget", type=float, default=0.4, help="share of wrong labels")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.005, 0.015, 0.05, 0.15, 0.5])
    parser.add_argument("--epochs", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=Path("runs/nct-rivals"))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        with tempfile.TemporaryDirectory() as scratch:
            options.one_of = None
            made_up(options, Path(scratch))
            options.labels, options.out = options.given, Path(scratch) / "out"
            options.rates, options.epochs = [0.05], 10.0
            R_MAX = (0.0, 0.3)
            main(options)
    else:
        main(options)
