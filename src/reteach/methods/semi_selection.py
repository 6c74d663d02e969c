"""Stage 2 of ``semi``: which images are picked for which class; see :mod:`reteach.methods.semi`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..engine import distributed
from ..engine.run import Run
from ..engine.setup import Frozen
from ..errors import UserError
from ..relabel.selection.quotas import (
    check_picks,
)
from ..relabel.selection.topk_numpy import (
    Picks,
    best,
    draw,
    write_picks,
)
from .semi_candidates import candidates
from .semi_selection_plan import SemiSelection

if TYPE_CHECKING:
    from ..engine.setup import Setup


def select(
    setup: Setup,
    selection: SemiSelection,
    unlabeled: Dataset,
    teacher: Frozen | None,
    run: Run,
    stage: str,
    name: str,
) -> Picks:
    """Stage 2: D̂, also as the table ``name`` in the run folder."""
    rule, quotas, items, given = selection.rule, selection.quotas, unlabeled.items, selection.given
    if teacher is not None:
        found = candidates(setup, unlabeled, teacher, rule.top or 1, run, stage)
        picks = best(found, items, quotas, rule, selection.exclude)
    elif given is not None:
        picks = given
    else:
        assert selection.weak is not None
        weak = selection.weak
        picks = draw(weak.labels, weak.rows, items, quotas, rule, selection.exclude)
    if not len(picks):
        raise UserError(
            "no unlabelled image is selected for any class: look at --minimum, --exclude"
        )
    k = int(np.bincount(picks.cls).max() if picks is given else quotas.mean())
    check_picks(len(picks), len(np.unique(picks.row)), k, len(unlabeled), len(unlabeled.classes))
    _say_what_is_missing(setup, picks, np.ones_like(quotas) if picks is given else quotas)
    if run.folder is not None and picks is not given and distributed.rank() == 0:
        write_picks(run.folder / f"{name}.parquet", picks, items, unlabeled.classes, quotas, rule)
    return picks


def _say_what_is_missing(setup: Setup, picks: Picks, quotas: NDArray[np.int64]) -> None:
    counts = np.bincount(picks.cls, minlength=len(quotas))
    empty = np.flatnonzero((counts == 0) & (quotas > 0))
    if len(empty):
        names = ", ".join(repr(setup.train.classes[c]) for c in empty[:10])
        more = f" and {len(empty) - 10} more" if len(empty) > 10 else ""
        setup.warn(f"no unlabelled image is selected for {len(empty)} classes: {names}{more}")
    short = int(((counts < quotas) & (counts > 0)).sum())
    if short:
        setup.warn(f"classes with fewer unlabelled images than asked for: {short}")
