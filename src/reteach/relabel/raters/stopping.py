"""How many more answers a question needs: fewer where the first ones agree.

With ``agree`` = m, a question is settled by m answers or more of which none contradicts another: all *no*;
or no *no*, and *yes* from all but one (at least two). A question that is contradicted gets all ``wanted``
answers. Without ``agree`` every question does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ratings import NO, YES

Indices = NDArray[np.int64]


def lacking(counts: NDArray[Any], wanted: int, agree: int | None = None) -> Indices:
    """(P,) answers that each question lacks as things stand, 0 where it is settled.

    Args:
        counts: (P, 3) how many raters said no, maybe, yes.
        wanted: answers to a question on which raters differ.
        agree: answers that settle one on which they do not; None: ``wanted``.
    """
    counts = np.asarray(counts, np.int64)
    given, no, yes = counts.sum(1), counts[:, NO], counts[:, YES]
    left = np.maximum(wanted - given, 0)
    if agree is None:
        return np.asarray(left)
    against = (no > 0) & (yes > 0)
    settled = (given >= agree) & ~against & ((no >= agree) | (yes >= max(2, agree - 1)))
    more = np.where(against, left, np.clip(agree - given, 1, left.clip(1)))
    return np.asarray(np.where(settled | (left == 0), 0, more))
