"""K-fold held-out prediction (ReaL: Beyer, Hénaff, Kolesnikov, Zhai, van den Oord; 2020, Section 6).

"In order to counter memorization of training data, we split training images into 10 equally-sized
folds. For each fold we perform the following: (1) Hold the fold out and train the [...] model on the
remaining 9 folds and (2) Use the resulting model to predict labels on the hold-out fold."

K × (train on K − 1 folds, predict the K-th), with any method that ``reteach train`` knows. What is done
with the predictions is in :mod:`reteach.relabel.noise.clean`.

The paper is silent on the seeds of the K models: here all start from the same weights. A budget in
epochs means passes over the K − 1 folds; a budget in steps is the same for each fold. Of a method with
several models, the first predictor counts.

Of features, the scores may be the geometric mean of that model's and those of other judges
(:mod:`reteach.methods.clean_judges`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.sources.base import ArraySource
from ..engine import distributed
from ..engine.evaluate import scores
from ..engine.log import Log
from ..engine.recipe import Recipe
from ..engine.run import Arrays, Run
from ..labels import Rows, Single
from .clean_judges import Judge, Matrix, pooled

if TYPE_CHECKING:
    from ..engine.setup import Setup


def held_out_scores(
    setup: Setup,
    recipe: Recipe,
    settings: Any,
    fold: Rows,
    run: Run,
    beside: Sequence[Judge] = (),
    tuned: bool = False,
) -> NDArray[np.float32]:
    """(N, C) scores of every image by the model that has not seen it; NaN for an unreadable image.

    A fold that is finished is loaded. The one that was interrupted goes on from its snapshot, because
    its training is a run of its own below ``run``'s folder.

    Args:
        setup: of a training on all N images of ``setup.train``.
        fold: (N,) the fold of each image.
        beside: further judges of features; the scores are the geometric mean of all.
        tuned: where rate and weight decay of a head are open, each model's are chosen by its own images.
    """
    extra: dict[str, Any] = {"pooled": [judge.__name__ for judge in beside]} if beside else {}
    extra |= {"tuned": True} if tuned else {}
    out = np.full((len(setup.train), setup.train.labels.num_classes), np.nan, np.float32)
    for number in range(int(fold.max()) + 1):
        inner = _inner(run, number)
        found = run.once(
            f"fold-{number + 1}",
            partial(_held_out, setup, recipe, settings, fold, number, inner, beside, tuned),
            recipe=recipe,
            settings=settings,
            architecture=setup.model.model,
            training=setup.training,
            steps=setup.total,
            images=setup.train,
            folds=int(fold.max()) + 1,
            split=fold,
            **extra,
        )
        out[found["rows"]] = found["scores"]
        if inner.folder is not None and distributed.rank() == 0:
            for file in inner.folder.glob("stages/*/snapshot*.pt"):
                file.unlink()  # the scores are what is kept; K models of any size would fill the disk
    return out


def _inner(run: Run, number: int) -> Run:
    """The run of one fold's training: its stages and its log are apart from those of other folds."""
    if run.folder is None:
        return Run.memory(run.seed)
    folder = run.folder / "folds" / str(number + 1)
    log = Log(folder / "metrics.jsonl", run.log.sinks)
    return Run(folder, run.seed, log, run.snapshot_seconds, run.quiet)


def _held_out(
    setup: Setup,
    recipe: Recipe,
    settings: Any,
    fold: Rows,
    number: int,
    run: Run,
    beside: Sequence[Judge],
    tuned: bool,
) -> Arrays:
    """Train without one fold, and score it: ``rows`` (M,) of the whole data set, ``scores`` (M, C)."""
    learn, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
    steps = setup.total
    if setup.training.steps is None:
        steps = max(1, round(steps * len(learn) / len(fold)))
    part = replace(setup, train=setup.train.subset(learn), total=steps, judge=None)
    if tuned and part.tune is not None:
        part = replace(part, training=part.tune(part.train, steps))
    algorithm = recipe(part, settings, run)
    predictor = next(iter(algorithm.predictors().values()))
    rows, found = scores(predictor, setup.scan(setup.train.subset(held)))
    if beside:
        others = _judged(beside, setup.train.subset(learn), setup.train.subset(held[rows]))
        found = pooled([found, *others])
    return {"rows": held[rows], "scores": found}


def _judged(judges: Sequence[Judge], learn: Dataset, held: Dataset) -> list[Matrix]:
    """(M, C) scores of the held-out features by each judge."""
    assert isinstance(learn.labels, Single)
    x, z = _features(learn), _features(held)
    return [judge(x, learn.labels.index, z, learn.labels.num_classes) for judge in judges]


def _features(data: Dataset) -> Matrix:
    assert isinstance(data.source, ArraySource)
    return data.source.batch(data.rows)[:, 0, 0].astype(np.float32)
