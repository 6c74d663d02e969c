"""Stage 4 of ``semi``: fine-tuning, at the best of several rates; see :mod:`reteach.methods.semi`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from ..data.dataset import Dataset
from ..engine import distributed
from ..engine.evaluate import scores
from ..engine.learner import Predictor
from ..engine.run import Run
from ..labels import Single
from ..losses.standard import softmax_xent
from ..schedules import Drops
from .semi_plan import StagePlan
from .supervised import Supervised

if TYPE_CHECKING:
    from ..engine.setup import Setup

HELD_OUT = 0.1
"""Share of the labelled images that judges the rates of a sweep."""


def finetune(
    setup: Setup, plan: StagePlan, pretrained: Predictor, run: Run, stage: str
) -> Supervised:
    """Stage 4: on the labelled images, at the given rate or the best of several."""
    rate = plan.rates[0]
    if len(plan.rates) > 1:
        learn, held = setup.train.split(HELD_OUT, setup.seed)
        right = [
            _accuracy(setup, _tuned(setup, plan, pretrained, run, f"{stage}-{r:g}", r, learn), held)
            for r in plan.rates
        ]
        rate = plan.rates[int(np.argmax(right))]
        if distributed.rank() == 0:
            shown = ", ".join(
                f"{r:g}: {100 * a:.1f}%" for r, a in zip(plan.rates, right, strict=True)
            )
            print(f"rate of fine-tuning: {rate:g} (on held-out images {shown})", file=sys.stderr)
    return _tuned(setup, plan, pretrained, run, stage, rate, None)


def _tuned(
    setup: Setup,
    plan: StagePlan,
    pretrained: Predictor,
    run: Run,
    stage: str,
    rate: float,
    part: Dataset | None,
) -> Supervised:
    """The student after fine-tuning on all labelled images, or on a part of them without judging."""
    schedule = Drops(rate, plan.finetune, 3, 0.1)
    learner = setup.learner("student", rate=schedule, start=pretrained)
    budget = setup.budget() | {"steps": plan.finetune} | ({} if part is None else {"judge": None})
    algorithm = Supervised(learner, softmax_xent, "softmax")
    return run.train(stage, algorithm, setup.stream("finetune", dataset=part), **budget)


def _accuracy(setup: Setup, model: Supervised, held: Dataset) -> float:
    rows, found = scores(model.predictors()["model"], setup.scan(held))
    assert isinstance(held.labels, Single)
    return float((found.argmax(-1) == held.labels.index[rows]).mean())
