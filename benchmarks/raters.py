"""Dawid & Skene beside crowd-kit: the released answers of ReaL where they are at hand, else made-up ones.

Both start at the vote shares, do the same number of EM iterations (crowd-kit's ``tol`` is set so low that it
never stops early) and add no smoothing. Both get their answers as arrays in memory, crowd-kit as a data frame
of integers.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.house import ROOT, Contender, Contest, timed
from reteach.relabel.raters import reassessed
from reteach.relabel.raters.consensus import answers_of
from reteach.relabel.raters.dawid_skene import Answers, dawid_skene

REAL = ROOT.parent / "shared" / "data" / "real"
ITERATIONS = 20


def generate(tasks: int, raters: int, each: int) -> Answers:
    """``each`` raters answer *no, maybe, yes* to every task; each has error rates of their own."""
    draw = np.random.default_rng(0)
    truth = draw.choice(3, tasks, p=(0.6, 0.1, 0.3))
    confusion = draw.dirichlet(np.ones(3), (raters, 3)) + 4 * np.eye(3)
    above = np.cumsum(confusion / confusion.sum(-1, keepdims=True), -1)
    task = np.repeat(np.arange(tasks), each)
    rater = (draw.integers(0, raters, (tasks, 1)) + np.arange(each)).ravel() % raters
    answer = (draw.random((len(task), 1)) > above[rater, truth[task]]).sum(1).clip(0, 2)
    return Answers(task, rater, answer.astype(np.int8), tasks, raters, 3)


def contest(folder: Path) -> Contest:
    """A row."""
    if REAL.is_dir():
        answers, source = answers_of(reassessed.load(REAL)[0]), "the released answers of ReaL"
    else:
        answers, source = generate(185_000, 85, 5), "made-up answers"
    found: dict[str, Any] = {}

    def ours() -> Any:
        return dawid_skene(answers, answers.shares(), iterations=ITERATIONS, tolerance=-1).posterior

    def crowdkit() -> Contender:
        import pandas as pd
        from crowdkit.aggregation import DawidSkene

        frame = pd.DataFrame(
            {"task": answers.task, "worker": answers.rater, "label": answers.answer}
        )

        def work() -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = DawidSkene(n_iter=ITERATIONS, tol=-1e9).fit(frame)
            assert len(model.loss_history_) == ITERATIONS
            return model.probas_

        return timed(work, partial(found.__setitem__, "crowd-kit"))

    def note() -> str:
        if "crowd-kit" not in found:
            return ""
        other = found["crowd-kit"].sort_index()[[0, 1, 2]].to_numpy()
        apart = np.abs(found["reteach"][np.unique(answers.task)] - other).max()
        assert apart < 1e-6, apart
        return f"Largest difference of the posteriors: {apart:.0e}"

    return Contest(
        f"Dawid & Skene, {len(answers.answer):,} answers of {answers.raters} raters ({source}), "
        f"{ITERATIONS} iterations",
        timed(ours, partial(found.__setitem__, "reteach")),
        {"crowd-kit": crowdkit},
        {("crowd-kit", "s"): 60},
        note,
    )
