"""The heads of a review learn again: from the labels as people have left them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..labels import Rows
from .decisions import UNCLEAR, UNUSABLE
from .estimate import guess, worst_entry
from .heads import Lesson, Moments, folds_of, out_of_fold
from .prepared import Entries, Floats, Opinion, Prepared


def learned_from(
    prepared: Prepared, labels: Entries, status: NDArray[np.uint8], judged: Rows
) -> tuple[Opinion, Floats]:
    """What heads that know some labels say out of fold, and the guess that follows.

    Args:
        prepared: the folder.
        labels: of all N items, as they are now.
        status: (N,) of :mod:`.decisions`; heads learn nothing from items that are unclear or unusable.
        judged: the rows whose labels people know.

    Returns:
        The opinion, and (N,) the guess that a given label is wrong.
    """
    record = prepared.record
    usable = (status != UNCLEAR) & (status != UNUSABLE)
    if record.kind == "single":
        usable &= labels.sizes > 0
    decided = np.zeros(record.count, np.bool_)
    decided[judged] = True
    c = len(record.classes)
    lesson = Lesson(
        record.kind,
        prepared.features,
        Moments.load(prepared.folder),
        labels,
        usable,
        decided,
        c,
        folds_of(prepared.copies, record.folds, record.seed),
        record.seed,
    )
    opinion = out_of_fold(lesson, prepared.given)
    doubt = worst_entry(record.kind, prepared.given, opinion)
    known = judged[labels.sizes[judged] == 1]
    return opinion, guess(record.kind, c, prepared.given, opinion, doubt, labels, known)
