"""Finding wrong labels in 50,000 held-out predictions: our rules beside cleanlab.

    python benchmarks/clean.py [--items 50000] [--classes 10] [--rounds 5]

CPU seconds, the least of several rounds, on the same made-up scores; cleanlab must be installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import get_args

import numpy as np
from cleanlab.filter import find_label_issues

from reteach.relabel.noise import clean
from reteach.relabel.noise.balance import balance


def least(work: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the quickest round."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def main(items: int, classes: int, rounds: int) -> None:
    """Print a table of seconds."""
    generator = np.random.default_rng(0)
    true = generator.integers(0, classes, items)
    logits = generator.normal(size=(items, classes)).astype(np.float32)
    logits[np.arange(items), true] += 2.5
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = generator.random(items) < 0.2
    given = np.where(wrong, (true + generator.integers(1, classes, items)) % classes, true)
    for rule in get_args(clean.Rule):
        seconds = least(lambda rule=rule: clean.keep_rule(rule, scores, given), rounds)
        print(f"{'reteach ' + rule:34} {seconds:.3f} s")
    seconds = least(lambda: balance(scores, given, given == true), rounds)
    print(f"{'reteach, the estimate of the noise':34} {seconds:.3f} s")
    for how in ("prune_by_noise_rate", "confident_learning"):
        seconds = least(
            lambda how=how: find_label_issues(given, scores, filter_by=how, n_jobs=1), rounds
        )
        print(f"{'cleanlab ' + how:34} {seconds:.3f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    main(**vars(parser.parse_args()))
