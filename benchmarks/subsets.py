"""Exhaustive search over all subsets of 19 models on 1,135 gold pairs, and on ten times as many.

    python benchmarks/subsets.py [--models 19]

CPU time of precision and recall of all 2^M − 1 subsets, the best at a recall of 97% of what all
models reach together, and the frontier. The support is drawn at random: the time does not depend on
it. A sample of subsets is counted again the plain way.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from reteach.relabel.raters import model_subsets as subsets


def main() -> None:
    """Time the search, and check a thousand of its entries."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=19)
    models = parser.parse_args().models
    rng = np.random.default_rng(0)
    for pairs in (1_135, 11_350):
        support = rng.choice([0, 1, 2], p=[0.7, 0.2, 0.1], size=(pairs, models)).astype(np.int8)
        always, truth = rng.random(pairs) < 0.1, rng.random(pairs) < 0.3
        start = time.process_time()
        found = subsets.search(support, always, truth)
        best = found.best(0.97 * float(found.recall[-1]))
        front = found.frontier()
        seconds = time.process_time() - start
        print(
            f"{2**models - 1:,} subsets, {pairs:,} pairs: {seconds:.2f} s of CPU; "
            f"best has {best.bit_count()} models, {len(front)} on the frontier"
        )
        for subset in rng.integers(1, 2**models, 1000).tolist():
            proposed = always | (support[:, subsets.members(subset)].sum(1) >= 2)
            assert found.proposed[subset] == proposed.sum()
            assert found.recall[subset] == (proposed & truth).sum() / truth.sum()


if __name__ == "__main__":
    main()
