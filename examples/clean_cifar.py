"""Does dropping doubtful labels help? 6,000 CIFAR-10 images with labels from human raters (CIFAR-10N).

    python examples/clean_cifar.py FOLDER [--noise worse|aggre] [--seeds 3] [--model reteach_mid] [--smoke]

FOLDER holds cifar10.npz (JPEGs of all images) and cifar10n.npz (the raters' labels). K-fold cleaning as
`reteach relabel clean` does it, then a network of the same kind learns without augmentation from all
labels, from those that each rule keeps, from as many taken at random, and from just the right ones.
Detection stands beside cleanlab's on the same held-out scores, where cleanlab is installed. Judged on the
10,000 test images. Interrupted, it goes on where it was; whatever is finished is loaded.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from reteach.files import write_json
from reteach.relabel.noise import clean
from reteach.relabel.noise.balance import balance


@dataclass(frozen=True)
class Trial:
    """One seed: which images, which weights, which random removal."""

    pack: Path
    noise: str
    seed: int
    out: Path
    model: str
    images: int = 6_000
    test: int = 10_000
    folds: int = 5
    epochs: float = 20.0


def pictures(pack: Any, rows: np.ndarray) -> np.ndarray:
    """(N, 32, 32, 3) uint8."""
    data, at = pack["jpeg"], pack["offsets"]
    files = (io.BytesIO(data[at[row] : at[row + 1]].tobytes()) for row in rows)
    return np.stack([np.asarray(Image.open(file)) for file in files])


def run(trial: Trial) -> dict[str, Any]:
    """Held-out scores, rules, and a training on what each of them keeps."""
    import torch

    from reteach.data.dataset import Dataset
    from reteach.data.sources.base import ArraySource
    from reteach.engine.evaluate import scores
    from reteach.engine.run import Run
    from reteach.labels import Single
    from reteach.methods.clean import held_out_scores
    from reteach.methods.supervised import train_softmax
    from reteach.options.methods import SoftmaxOptions
    from reteach.options.shared import Model, Training
    from reteach.relabel.noise.folds import stratified_folds
    from reteach.runs.config import Config
    from reteach.runs.inputs import Inputs
    from reteach.runs.setup import make_setup

    with (
        np.load(trial.pack / "cifar10.npz") as pack,
        np.load(trial.pack / "cifar10n.npz") as raters,
    ):
        names = tuple(pack["class_names"].tolist())
        rows = np.random.default_rng(trial.seed).permutation(50_000)[: trial.images]
        given, true = (raters[key][rows].astype(np.int64) for key in (trial.noise, "clean"))
        everything = Dataset.of(ArraySource(pictures(pack, rows)), Single(given, names))
        tested = np.arange(50_000, 50_000 + trial.test)
        right = pack["label"][tested].astype(np.int64)
        test = Dataset.of(ArraySource(pictures(pack, tested)), Single(right, names))
    training = Training(epochs=trial.epochs, batch_size=64, optimizer="adam", seed=trial.seed)
    model = Model(trial.model, device="cpu", channels_last=True)
    config = Config("softmax", SoftmaxOptions(), model=model, training=training)

    def setup(data: Dataset) -> Any:
        return make_setup(config, Inputs(data, None, None), torch.device("cpu"))

    folder = trial.out / f"{trial.noise}-{trial.images}-{trial.model}-seed{trial.seed}"
    fold = stratified_folds(given, np.arange(len(given)), trial.folds, trial.seed)
    own = Run(folder / "folds", trial.seed, quiet=True)
    held = held_out_scores(setup(everything), train_softmax, SoftmaxOptions(), fold, own)
    np.savez(folder / "held_out.npz", scores=held, given=given, true=true)

    def accuracy(name: str, keep: np.ndarray) -> float:
        if not keep.any():  # nothing to learn from: the held-out models confirm no label
            return math.nan
        surroundings = setup(everything.subset(np.flatnonzero(keep)))
        part = Run(folder / name, trial.seed, quiet=True)
        model = train_softmax(surroundings, SoftmaxOptions(), part).predictors()["model"]
        found = float((scores(model, surroundings.scan(test))[1].argmax(1) == right).mean())
        print(f"seed {trial.seed}, trained on {name}: {found:.1%}", file=sys.stderr, flush=True)
        return found

    keeps = {rule: clean.keep_rule(rule, held, given) for rule in get_args(clean.Rule)}
    chance = np.random.default_rng(trial.seed + 1).permutation(keeps["agreement"])
    sets = {"all": np.full(len(given), True), **keeps, "random": chance, "known": given == true}
    found = detections(held, given, given != true, keeps)
    judged = balance(held, given, keeps["agreement"])
    result = {
        "noise": float((given != true).mean()),
        "estimated noise": judged.noise,
        "removed": judged.removed,
        "warning": judged.warning,
        "accuracy": {name: accuracy(name, keep) for name, keep in sets.items()},
        "detection": found,
    }
    write_json(folder / "result.json", result)
    return result


def detections(
    held: np.ndarray, given: np.ndarray, wrong: np.ndarray, keeps: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of finding wrong labels; cleanlab's beside ours."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        print("cleanlab is not installed: its rows are left out")
    else:
        for how in ("prune_by_noise_rate", "confident_learning", "predicted_neq_given"):
            issues = find_label_issues(given, held, filter_by=how, n_jobs=1)
            keeps = keeps | {f"cleanlab {how}": ~issues}
    found = {name: clean.detection(keep, wrong) for name, keep in keeps.items()}
    return {n: {"precision": d.precision, "recall": d.recall, "f1": d.f1} for n, d in found.items()}


def show(results: list[dict[str, Any]]) -> None:
    """Mean, spread and every seed in percent; what cleaning gains, seed by seed, with its interval."""
    for key in ("noise", "estimated noise", "removed"):
        line(key, [result[key] for result in results])
    for name in results[0]["accuracy"]:
        line(f"accuracy, {name}", [result["accuracy"][name] for result in results])
    for other in ("all", "random"):
        gains = [r["accuracy"]["agreement"] - r["accuracy"][other] for r in results]
        line(f"agreement beats {other} by", gains, interval=len(gains) > 1)
    for name in results[0]["detection"]:
        for part in ("precision", "recall", "f1"):
            line(f"{part}, {name}", [result["detection"][name][part] for result in results])
    print(*{f"warning: {r['warning']}" for r in results if r["warning"]}, sep="\n")


def line(name: str, values: list[float], interval: bool = False) -> None:
    """One row; the 95% interval of the mean is Student's t over the seeds."""
    from scipy.stats import t

    spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
    shown = f"{name:40} {100 * np.mean(values):6.1f} ± {100 * spread:4.1f}  "
    print(shown, *(f"{100 * value:5.1f}" for value in values), end="")
    if interval:
        half = t.ppf(0.975, len(values) - 1) * spread / len(values) ** 0.5
        low, high = 100 * (np.mean(values) - half), 100 * (np.mean(values) + half)
        print(f"  95%: {low:.1f} to {high:.1f}", end="")
    print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("--noise", choices=("worse", "aggre"), default="worse")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="reteach_mid")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/clean-cifar"))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    small = {"images": 200, "test": 100, "folds": 2, "epochs": 1.0} if options.smoke else {}
    trials = [
        Trial(options.pack, options.noise, seed, options.out, options.model, **small)
        for seed in range(1 if options.smoke else options.seeds)
    ]
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        show(list(pool.map(run, trials)))
