"""Dawid & Skene on the released answers of ReaL: reteach against crowd-kit, in one process.

    python benchmarks/raters.py ../shared/data/real [--iterations 100]

924,810 answers of 85 raters on 184,962 pairs, 3 truths × 3 answers. Both start at the vote shares,
do the same number of EM iterations (crowd-kit's ``tol`` is set so low that it never stops early)
and add no smoothing. CPU time of the fit alone: both get their answers as arrays in memory, crowd-kit
as a data frame of integers. crowd-kit has to be installed; without it only reteach is timed.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from pathlib import Path

import numpy as np

from reteach.relabel.raters import reassessed
from reteach.relabel.raters.consensus import answers_of
from reteach.relabel.raters.dawid_skene import dawid_skene


def main() -> None:
    """Time both, compare their posteriors."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--iterations", type=int, default=100)
    given = parser.parse_args()
    ratings, _, _ = reassessed.load(given.folder)
    answers = answers_of(ratings)

    start = time.process_time()
    found = dawid_skene(answers, answers.shares(), iterations=given.iterations, tolerance=-1)
    ours = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(answers.answer):,} answers, {len(found.log_likelihood)} iterations")
    print(f"reteach    {ours:8.2f} s of CPU, peak memory so far {peak:.0f} MB")

    try:
        import pandas as pd
        from crowdkit.aggregation import DawidSkene
    except ImportError as error:
        print(f"crowd-kit  not installed ({error.name})")
        return
    frame = pd.DataFrame({"task": answers.task, "worker": answers.rater, "label": answers.answer})
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = DawidSkene(n_iter=given.iterations, tol=-1e9).fit(frame)
    theirs = time.process_time() - start
    done = len(model.loss_history_)
    print(f"crowd-kit  {theirs:8.2f} s of CPU, {done} iterations")
    assert done == given.iterations
    assert model.probas_ is not None
    other = model.probas_.sort_index()[[0, 1, 2]].to_numpy()
    print(f"ratio      {theirs / ours:8.1f}")
    print(f"largest difference of the posteriors: {np.abs(found.posterior - other).max():.1e}")


if __name__ == "__main__":
    main()
