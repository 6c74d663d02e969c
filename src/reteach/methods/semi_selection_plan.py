"""What stage 2 of ``semi`` goes by: quotas, ranking, exclusions; see :mod:`reteach.methods.semi`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..item_index import rows_among
from ..relabel.selection.item_lists import read_exclusions
from ..relabel.selection.quotas import (
    align,
    balanced,
    check_per_class,
    paper_ratio,
    proportional,
    read_frequencies,
)
from ..relabel.selection.topk import RankingRule
from ..relabel.selection.topk_numpy import Picks, read_picks, without
from ..relabel.weak.weak_labels import WeakLabels, weak_labels

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import SemiOptions as Options


@final
@dataclass(frozen=True, eq=False)
class SemiSelection:
    """What stage 2 goes by; all files are read before anything is trained.

    Args:
        rule: K, P and what ranks.
        quotas: (C,) how many images each class is to have.
        exclude: items that are not to be picked.
        weak: tags of the unlabelled images, to draw from or to pretrain a teacher on.
        given: picks that were made elsewhere.
    """

    rule: RankingRule
    quotas: NDArray[np.int64]
    exclude: Sequence[str]
    weak: WeakLabels | None
    given: Picks | None


def plan_selection(setup: Setup, options: Options, unlabeled: Dataset) -> SemiSelection:
    """What stage 2 goes by, out of the settings and the files that they name."""
    classes, items = unlabeled.classes, unlabeled.items
    pile = _pile(options, unlabeled)
    k = _per_class(setup, options, pile, len(classes))
    rule = RankingRule(k, by="random", seed=setup.seed)
    if options.selection != "balanced-with-tags":
        top = min(10, len(classes)) if options.top is None else options.top
        rule = RankingRule(k, top, options.rank_by, options.minimum)
    rule.check(len(classes))
    if options.picks is None or options.rounds > 1:
        check_per_class(k, pile, len(classes), rule.top)
    quotas = balanced(k, len(classes))
    if options.selection == "unbalanced-ranked":
        counts = setup.train.labels.counts()
        if options.frequencies is not None:
            read = read_frequencies(options.frequencies)
            counts = align(read, classes, str(options.frequencies))
        quotas = proportional(k, counts)
    given = None
    if options.picks is not None:
        given, others = read_picks(options.picks, items, classes)
        if others:
            setup.warn(f"{others} picks of {options.picks} are not among the unlabelled images")
    exclude = _excluded(setup, options, unlabeled.source.items)  # of picks, others are not in items
    return SemiSelection(
        rule,
        quotas,
        exclude,
        None if options.tags is None else weak_labels(options.tags, items, classes),
        None if given is None else without(given, items, exclude),
    )


def _excluded(setup: Setup, options: Options, items: Sequence[str]) -> list[str]:
    """The items of all exclude lists; said is how many of them there are, where not all are.

    Raises:
        UserError: a list that excludes nothing.
    """
    exclude = read_exclusions(options.exclude)
    listed = exclude.items
    there = {item for item, row in zip(listed, rows_among(listed, items), strict=True) if row >= 0}
    for line in exclude.found(there, "the unlabelled images", items[0] if len(items) else None):
        if not there.issuperset(exclude.items):
            setup.warn(f"--exclude {line}")
    return exclude.items


def _pile(options: Options, unlabeled: Dataset) -> int:
    """How many images could be picked from: those without tags count, though they are not opened."""
    tagged = options.selection == "balanced-with-tags"
    return len(unlabeled.source) if tagged else len(unlabeled)


def _per_class(setup: Setup, options: Options, images: int, classes: int) -> int:
    """K: as given, or by the paper's ratio; picks of elsewhere need none."""
    if options.per_class is not None:
        return options.per_class
    k = paper_ratio(images, classes)
    if options.picks is not None and options.rounds == 1:
        return k
    why = f"by the paper's ratio, for {images:,} unlabelled images and {classes} classes"
    return setup.derive("per_class", k, why)
