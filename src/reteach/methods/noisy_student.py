"""Noisy student (Xie, Luong, Hovy, Le; CVPR 2020), the control of MILe's supplement.

A teacher learns from the labels, and gives soft labels to images; a student, *noised*, learns from
both; it becomes the teacher of the next generation. Each generation starts from fresh weights and is
trained to its end, which is the difference from MILe's short-lived generations.

What we do: three generations by default, under one budget of backward passes, cut equally. Labelled
images keep their labels and unlabelled ones get soft labels; without unlabelled images (as in MILe's
ablation) every image is relabelled. Noise is RandAugment on the input (``--noise``), where crops are
made (without them it says so), dropout and stochastic depth where the architecture has them
(``--dropout``, ``--drop-path``). The teacher that labels is not noised. Soft labels keep the classes
above ``--least`` (0.001).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..data.dataset import Dataset
from ..engine.evaluate import scores
from ..engine.run import Arrays, Run
from ..errors import UserError
from ..labels import Soft
from ..losses.standard import softmax_xent
from ..options.shared import refuse_unused
from ..recorded import recorded
from .supervised import Supervised

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import NoisyStudentOptions as Options


@recorded("train-noisy-student")
def train(setup: Setup, options: Options, run: Run) -> Supervised:
    """Generation after generation; returns the last one."""
    if options.generations == 1:
        why = "with --generations 1: there is a teacher and no student"
        refuse_unused(options, why, "noise", "dropout", "drop_path", "least")
        if setup.unlabeled is not None:
            raise UserError(f"--unlabeled has no effect {why}; leave it out")
    elif options.noise and not setup.changes:
        why = "without --augment crop: the students' images are not changed by RandAugment"
        refuse_unused(options, why, "noise")
        setup.warn(f"--noise {options.noise} has no effect {why}; dropout alone is their noise")
    share = 1 / options.generations
    everything = setup.everything()
    data: Dataset = setup.train.labelled()
    for number in range(1, options.generations + 1):
        noised = number > 1
        learner = setup.learner(
            f"generation-{number}",
            steps=share,
            drop_rate=options.dropout if noised else 0.0,
            drop_path_rate=options.drop_path if noised else 0.0,
        )
        name = f"generation-{number}"
        augment = setup.augment(randaugment=options.noise if noised else None)
        stream = setup.stream(name, dataset=data, augment=augment)
        algorithm = Supervised(learner, softmax_xent, "softmax")
        run.train(name, algorithm, stream, **setup.budget(share))
        if number < options.generations:
            soft = run.once(f"{name}-labels", partial(_labels, setup, algorithm, options.least))
            data = everything.with_labels(_merged(everything, soft, setup.unlabeled is None))
    return algorithm


def _labels(setup: Setup, teacher: Supervised, least: float) -> Arrays:
    """The teacher's scores of all images, as the arrays of a sparse label set."""
    everything = setup.everything()
    dense = np.zeros((len(everything), everything.labels.num_classes), np.float32)
    rows, found = scores(teacher.predictors()["model"], setup.scan(everything))
    dense[rows] = found
    soft = Soft.from_dense(dense, everything.classes, least)
    return {"starts": soft.starts, "columns": soft.columns, "weights": soft.weights}


def _merged(everything: Dataset, soft: Arrays, relabel_all: bool) -> Soft:
    """Soft labels, with the given ones in their place where an image has one and keeps it."""
    found = Soft(soft["starts"], soft["columns"], everything.classes, soft["weights"])
    if relabel_all:
        return found
    known = everything.labels.known()
    rows, columns, weights = found.pairs()
    given = everything.labels.pairs()
    all_rows = np.concatenate([rows[~known[rows]], given[0]])
    order = np.argsort(all_rows, kind="stable")
    return Soft(
        np.searchsorted(all_rows[order], np.arange(len(everything) + 1)),
        np.concatenate([columns[~known[rows]], given[1]])[order],
        everything.classes,
        np.concatenate([weights[~known[rows]], given[2]])[order],
    )
