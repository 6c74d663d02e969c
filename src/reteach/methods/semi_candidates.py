"""What the teacher of ``semi`` says of the unlabelled images; see :mod:`reteach.methods.semi`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..data.dataset import Dataset
from ..engine.evaluate import outputs, top_classes
from ..engine.run import Arrays, Run
from ..engine.setup import Frozen
from ..errors import UserError
from ..relabel.selection.topk_numpy import Candidates

if TYPE_CHECKING:
    from ..engine.setup import Setup

BLOCK = 2**16
"""Unlabelled images that are scored at once: what a crash may cost."""


def candidates(
    setup: Setup, unlabeled: Dataset, teacher: Frozen, top: int, run: Run, stage: str
) -> Candidates:
    """The teacher's P best classes of every unlabelled image, block by block."""
    parts = []
    for number, start in enumerate(range(0, len(unlabeled), BLOCK)):
        block = unlabeled.subset(slice(start, start + BLOCK))
        compute = partial(_scores, setup, teacher, top, block)
        found = run.once(
            f"{stage}-{number:05d}", compute, teacher=teacher.predictor, images=block, top=top
        )
        parts.append({**found, "row": found["row"] + start})
    row, cls, score, logit = (
        np.concatenate([part[name] for part in parts]) for name in ("row", "cls", "score", "logit")
    )
    return Candidates(row, cls, score, logit)


def _scores(setup: Setup, teacher: Frozen, top: int, block: Dataset) -> Arrays:
    """The fields of :class:`Candidates`, (B · P,) each, for the readable images of a block."""
    of = top_classes(teacher.predictor, top)
    rows, values = [], []
    for at, out in outputs(of, setup.scan(block, teacher)):
        rows.append(np.repeat(at, top))
        values.append(out.cpu().numpy().reshape(-1, 3))
    if not rows:
        raise UserError("none of the unlabelled images can be read")
    table = np.concatenate(values)
    if not np.isfinite(table).all():
        raise UserError("the teacher gives scores that are not finite numbers")
    cls = table[:, 0].astype(np.int64)
    return {"row": np.concatenate(rows), "cls": cls, "score": table[:, 1], "logit": table[:, 2]}
