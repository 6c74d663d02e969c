"""Labels as values: what is known about N items over C named classes.

One class per kind of label, so that nothing has to guess:

* :class:`Single` — one class per item, ``-1`` for *no label known*;
* :class:`Multi` — the set of classes present; an empty set says *none of the classes is present*. Of some
  classes it may be *unknown* whether they are present: they are neither present nor absent;
* :class:`Soft` — a weight per class and item (teachers' scores, raters' votes); no entry is weight 0.

*No label* therefore has two meanings and two spellings. An item that nobody labelled is ``-1`` in a
``Single``: it adds nothing to any loss or metric. An item with an empty ``Multi`` set has been looked
at: it is negative for all C classes but those that are unknown in it, which add nothing.

All three are immutable; methods return new label sets. Shapes: N items, C classes, B rows.
"""

from __future__ import annotations

from .base import LabelSet, Rows
from .multi import Multi, as_multi
from .sampling import rebalanced, stratified
from .single import Single
from .soft import Soft

__all__ = [
    "LabelSet",
    "Multi",
    "Rows",
    "Single",
    "Soft",
    "as_multi",
    "rebalanced",
    "stratified",
]
