"""MACE, GLAD and CROWDLAB on pairs: is this class in this image?

The truth is *absent* or *present*. MACE lets a *maybe* be said by those who do not know; GLAD and CROWDLAB
know no answer that takes no side, and leave it out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...item_index import ItemIndex
from ...scores.table import open_scores
from .consensus import Consensus, answers_of, judge, with_original
from .crowdlab import crowdlab
from .dawid_skene import Answers
from .glad import glad
from .mace import mace
from .ratings import MAYBE, YES, Ratings

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_TRUTH = np.array([0, -1, 1])
"""The truth that *no*, *maybe* and *yes* name."""


def by_mace(ratings: Ratings, *, group: Mask | None = None, iterations: int = 100) -> Consensus:
    """Probabilities from raters who know, or spam.

    Args:
        group: (C,) classes for which the original label answers too; default: none.
        iterations: of EM at most.
    """
    full = _with_original(ratings, group)
    found = mace(answers_of(full), _TRUTH, iterations=iterations)
    table = Consensus(
        full.raters,
        found.confusion(_TRUTH),
        0.5,
        found.posterior[:, 1],
        "mace",
        found.log_likelihood,
        rater_quality=found.competence,
    )
    return table.scored_again(lambda draw: judge(draw, table, group))


def by_glad(ratings: Ratings, *, group: Mask | None = None, iterations: int = 100) -> Consensus:
    """Probabilities from able raters and hard pairs; arguments as in :func:`by_mace`."""
    full = _with_original(ratings, group)
    found = glad(_sides(full), iterations=iterations)

    def again(draw: Ratings) -> Floats:
        answers = _sides(_with_original(draw, group))
        return glad(answers, iterations=iterations, ability=found.ability).posterior[:, 1]

    return Consensus(
        full.raters,
        _NO_TABLES,
        0.5,
        found.posterior[:, 1],
        "glad",
        rater_quality=found.ability,
    ).scored_again(again)


def by_crowdlab(ratings: Ratings, model: Floats, *, group: Mask | None = None) -> Consensus:
    """Probabilities from raters and a model together.

    Args:
        model: (P,) the model's held-out probability of each pair.
        group: (C,) classes for which the original label answers too; default: none.

    Raises:
        UserError: no pair has two answers.
    """
    full = _with_original(ratings, group)
    try:
        found = crowdlab(_sides(full), np.stack([1 - model, model], axis=1))
    except ValueError:
        raise UserError(
            "crowdlab judges raters by pairs with two answers, and there is none: use --method mace"
        ) from None
    keys = _keys(ratings)
    order = np.argsort(keys)

    def again(draw: Ratings) -> Floats:
        p = model[order[np.searchsorted(keys, _keys(draw), sorter=order)]]
        answers = _sides(_with_original(draw, group))
        return found.judge(answers, np.stack([1 - p, p], axis=1))[:, 1]

    return Consensus(
        full.raters,
        _NO_TABLES,
        float("nan"),
        found.posterior[:, 1],
        "crowdlab",
        rater_quality=found.rater_weight,
        model_weight=found.model_weight,
    ).scored_again(again)


def model_probabilities(path: Path, ratings: Ratings) -> Floats:
    """(P,) the probability that a score table gives to each pair.

    Raises:
        UserError: a pair is not in the table, or a score is no probability.
    """
    table = open_scores(path)
    if table.classes is None and not table.named:
        raise UserError(f"{path}: its classes are numbers without a class list: predict again")
    rest = [name for name in table.classes or () if name not in set(ratings.classes)]
    classes = [*ratings.classes, *rest]
    keys = ratings.pair_item * len(classes) + ratings.pair_class
    order = np.argsort(keys)
    found = np.full(len(keys), np.nan)
    items = ItemIndex(ratings.items)
    for rows in table.batches(items, classes):
        key = rows.item * len(classes) + rows.cls
        at = np.minimum(np.searchsorted(keys, key, sorter=order), len(keys) - 1)
        hit = keys[order[at]] == key
        found[order[at[hit]]] = rows.score[hit]
    if len(missing := np.flatnonzero(np.isnan(found))):
        item = ratings.items[ratings.pair_item[missing[0]]]
        cls = ratings.classes[ratings.pair_class[missing[0]]]
        raise UserError(
            f"{path}: no score of {len(missing):,} of {len(found):,} rated pairs, first: {item!r}, {cls!r} "
            "(reteach predict --top keeps more classes)"
        )
    if len(found) and not 0 <= found.min() <= found.max() <= 1:
        raise UserError(f"{path}: scores should be probabilities from 0 to 1")
    return found


_NO_TABLES = np.empty((0, 2, 3))


def _with_original(ratings: Ratings, group: Mask | None) -> Ratings:
    return ratings if group is None or not group.any() else with_original(ratings, group)


def _sides(ratings: Ratings) -> Answers:
    """The answers that take a side: 0 absent, 1 present."""
    takes = ratings.answer != MAYBE
    return Answers(
        ratings.pair[takes],
        ratings.rater[takes],
        (ratings.answer[takes] == YES).astype(np.int64),
        len(ratings.pair_item),
        len(ratings.raters),
        2,
    )


def _keys(ratings: Ratings) -> NDArray[np.int64]:
    """(P,) a number for each pair."""
    return ratings.pair_item * len(ratings.classes) + ratings.pair_class
