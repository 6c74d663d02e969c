"""Wrong labels found in the held-out scores of `reteach relabel clean`: our rules beside cleanlab's.

    python benchmarks/clean_scores.py FOLDER [FOLDER ...] --labels worse.csv --truth clean.csv

FOLDER is what `relabel clean` keeps beside its --out, of one set of labels each; --labels and --truth are
given once or once for each. Prints F1 of each, with mean and deviation, and the default rule less each of
cleanlab's with 95% intervals, images drawn anew (the paired bootstrap); cleanlab must be installed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

import numpy as np
from cleanlab.filter import find_label_issues

from reteach.item_index import ItemIndex
from reteach.labels import Single
from reteach.relabel.noise import clean
from reteach.scores.table import open_scores
from reteach.tables import read_labels

OURS, REPEATS = "posterior", 2000
CLEANLAB = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning")


def single(path: Path, classes: tuple[str, ...] | None = None) -> tuple[tuple[str, ...], Single]:
    """Items and labels of a table."""
    table = read_labels(path, kind="single", classes=classes)
    assert isinstance(table.labels, Single)
    return tuple(table.items), table.labels


def judged(folder: Path, labels: Path, truth: Path) -> tuple[dict[str, float], dict[str, str]]:
    """F1 of every rule; the default rule's less each of cleanlab's, in words."""
    items, given = single(labels)
    names, right = single(truth, given.classes)
    known = dict(zip(names, right.index.tolist(), strict=True))
    true = np.array([known[item] for item in items])
    scores = np.zeros((len(items), given.num_classes), np.float32)
    index = ItemIndex(items, closed=True)
    for batch in open_scores(folder / "scores.parquet").batches(index, given.classes):
        scores[batch.item, batch.cls] = batch.score
    keeps = {rule: clean.keep_rule(rule, scores, given.index) for rule in get_args(clean.Rule)}
    for how in CLEANLAB:
        keeps[f"cleanlab {how}"] = ~find_label_issues(given.index, scores, filter_by=how, n_jobs=1)
    wrong = given.index != true
    ours = keeps[OURS]
    beside = {rule: difference(ours, keep, wrong) for rule, keep in keeps.items() if " " in rule}
    return {name: clean.detection(keep, wrong).f1 for name, keep in keeps.items()}, beside


def difference(ours: np.ndarray, other: np.ndarray, wrong: np.ndarray) -> str:
    """F1 of what one keeps less that of the other, and its interval over images drawn anew."""
    size = len(wrong)
    drawn = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), REPEATS)
    counts = np.vstack([np.ones(size, int), drawn])

    def f1(keep: np.ndarray) -> np.ndarray:
        return 2 * (counts @ (~keep & wrong)) / (counts @ (~keep + wrong.astype(int)))

    found = f1(ours) - f1(other)
    low, high = np.quantile(found[1:], (0.025, 0.975))
    return f"{found[0]:+.3f} ({low:+.3f} to {high:+.3f})"


def main(folders: list[Path], labels: list[Path], truth: list[Path]) -> None:
    """Print the table."""
    labels, truth = (one * len(folders) if len(one) == 1 else one for one in (labels, truth))
    pairs = [judged(*each) for each in zip(folders, labels, truth, strict=True)]
    found = [f1 for f1, _ in pairs]
    for name in found[0]:
        values = np.array([each[name] for each in found])
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        print(f"{name:30} {values.mean():.3f} ± {spread:.3f}  ", *(f"{v:.3f}" for v in values))
    for rule in pairs[0][1]:
        print(f"{OURS} less {rule}:", *(beside[rule] for _, beside in pairs), sep="  ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--labels", type=Path, nargs="+", required=True)
    parser.add_argument("--truth", type=Path, nargs="+", required=True)
    main(**vars(parser.parse_args()))
