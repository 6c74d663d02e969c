"""Does the range of wrong labels that ``reteach advise`` gives on features hold the truth?

    python benchmarks/noise_range.py TABLE.features GIVEN.csv TRUTH.csv [--sizes 1000 2000] [--draws 10]
        [--classes 4] [--flip 0.2] [--seed 0]

Draws of images, each judged as advise judges it: held-out heads in folds, the range of their scores. The
true labels are for the last column alone. ``--flip`` plants errors among GIVEN: another class at random;
``--classes`` draws images of so many random classes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from reteach.analysis.facts import noise_range
from reteach.data.dataset import Dataset
from reteach.data.sources.base import open_source
from reteach.engine.run import Run
from reteach.labels import Single
from reteach.methods.clean import held_out_scores
from reteach.options.methods import METHODS, SoftmaxOptions
from reteach.options.shared import Data
from reteach.relabel.noise.folds import stratified_folds
from reteach.runs.config import Config
from reteach.runs.inputs import Inputs
from reteach.runs.label_judge import Probe
from reteach.runs.setup import load_recipe, make_setup
from reteach.tables import read_labels


def judged(data: Dataset, folds: int, seed: int) -> np.ndarray:
    """(N, C) held-out scores, as ``reteach advise`` makes them."""
    probe = Probe(data, np.arange(len(data)), "linear", "")
    config = probe.configured(Config("softmax", SoftmaxOptions(), data=Data("draw")), None)
    setup = make_setup(config, Inputs(data, None, None), torch.device("cpu"))
    fold = stratified_folds(data.labels.index, np.arange(len(data)), folds, seed)
    run = Run.memory(seed)
    return held_out_scores(
        setup, load_recipe(METHODS["softmax"].recipe), config.settings, fold, run
    )


def main(options: argparse.Namespace) -> None:
    source = open_source(options.table)
    given, truth = (
        read_labels(file).aligned(source.items) for file in (options.given, options.truth)
    )
    assert given.classes == truth.classes
    print("| images | draws | true, % | said, % (mean range) | width, points | holds the truth |")
    print("|---|---|---|---|---|---|")
    for size in options.sizes:
        rows = []
        for draw in range(options.draws):
            generator = np.random.default_rng([options.seed, size, draw])
            right, label = truth.index, given.index.copy()
            known = np.flatnonzero((right >= 0) & (label >= 0))
            if options.classes:
                kept = generator.choice(np.unique(right[known]), options.classes, replace=False)
                known = known[np.isin(right[known], kept) & np.isin(label[known], kept)]
            chosen = generator.choice(known, size, replace=False)
            used = np.unique(label[chosen])
            if options.flip:
                wrong = chosen[generator.random(size) < options.flip]
                others = generator.integers(1, len(used), len(wrong))
                label[wrong] = used[(np.searchsorted(used, label[wrong]) + others) % len(used)]
            mine = np.searchsorted(used, label[chosen])
            labels = Single(mine, tuple(given.classes[c] for c in used))
            scores = judged(Dataset(source, labels, chosen), options.folds, draw)
            found = noise_range(scores, mine, strong=True)
            share = float((label[chosen] != right[chosen]).mean())
            low, high = (0.0, 1.0) if found is None else (found.low, found.high)
            rows.append((share, low, high, low - 1e-9 <= share <= high + 1e-9))
        true, low, high, held = np.array(rows, float).T
        print(
            f"| {size:,} | {len(rows)} | {100 * true.mean():.1f} "
            f"| {100 * low.mean():.0f}–{100 * high.mean():.0f} "
            f"| {100 * (high - low).max():.0f} at most | {int(held.sum())} of {len(rows)} |",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("given", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 4000])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--flip", type=float, default=0.0)
    parser.add_argument("--folds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
