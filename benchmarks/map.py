"""Mean average precision against torchmetrics and scikit-learn, in one run.

    OMP_NUM_THREADS=1 python benchmarks/map.py [--images 100000] [--classes 80] [--rounds 3]

The metrics get the same scores in batches of 512 and take turns; the best round of each counts. Prints the
seconds, their ratio, and the largest difference of a class's average precision from scikit-learn's.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torchmetrics.classification import MultilabelAveragePrecision

from reteach.metrics.ranking import MeanAveragePrecision

BATCH = 512


def batches(images: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores that say something about labels as rare as COCO's."""
    draw = np.random.default_rng(0)
    truth = draw.random((images, classes)) < draw.uniform(0.002, 0.1, classes)
    logits = draw.normal(-3, 1.5, (images, classes)) + 2.5 * truth
    return (1 / (1 + np.exp(-logits))).astype(np.float32), truth


def ours(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Per class."""
    metric = MeanAveragePrecision()
    for start in range(0, len(scores), BATCH):
        metric.update(scores[start : start + BATCH], truth[start : start + BATCH])
    return metric.per_class()


def theirs(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Per class, by torchmetrics."""
    metric = MultilabelAveragePrecision(scores.shape[1], average="none")
    for start in range(0, len(scores), BATCH):
        metric.update(
            torch.from_numpy(scores[start : start + BATCH]),
            torch.from_numpy(truth[start : start + BATCH]).long(),
        )
    return np.asarray(metric.compute().double().numpy())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    torch.set_num_threads(1)
    scores, truth = batches(told.images, told.classes)
    contenders = {"reteach": ours, "torchmetrics": theirs}
    best = dict.fromkeys(contenders, float("inf"))
    found = {}
    for _ in range(told.rounds):
        for name, contender in contenders.items():
            start = time.process_time()
            found[name] = contender(scores, truth)
            best[name] = min(best[name], time.process_time() - start)
    exact = np.array(
        [average_precision_score(t, s) for t, s in zip(truth.T, scores.T, strict=True)]
    )
    print(f"{told.images} images, {told.classes} classes, CPU seconds of the best round")
    for name in contenders:
        apart = float(np.abs(found[name] - exact).max())
        print(f"{name:>14} {best[name]:8.2f} s   from scikit-learn {apart:.1e}")
    print(f"torchmetrics / reteach: {best['torchmetrics'] / best['reteach']:.1f}")


if __name__ == "__main__":
    main()
