"""The golden pairs scored as all others are, so that what holds on gold holds on the rest.

Raters answer golden tasks far more often than others, and their error rates are counted there. A
golden pair's own score, made of all its votes and of tables that have seen its truth, is surer than
any score on the rest, and precision and recall read off it are too good. Here each golden pair is
scored with as many votes as a pair of the rest has, drawn among its raters as often as they answer
there, by tables that were counted without its image (cross-fitting).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from .consensus import Consensus, Tables, count_tables, judge
from .ratings import ANSWERS, Ratings
from .stopping import lacking

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FOLDS = 10
DRAWS = 20


def golden_scores(
    ratings: Ratings,
    found: Consensus,
    *,
    calibration: Ratings | None = None,
    group: Mask | None = None,
    smoothing: float = 1.0,
    votes: int | None = None,
    agree: int | None = None,
    seed: int = 0,
) -> Floats:
    """(D, G) scores of the G golden pairs of ``ratings`` in D draws of their votes.

    Args:
        found: the consensus of ``ratings``, whose method is used again.
        calibration, group, smoothing: as :func:`reteach.relabel.raters.consensus.golden` had them.
        votes: of each pair; by default the median of the pairs that are not golden.
        agree: fewer where they agree, see :mod:`.stopping`.
        seed: of the draws and of the folds.

    Raises:
        UserError: too few golden images to leave some out.
    """
    votes = votes or usual_votes(ratings)
    rng = np.random.default_rng(seed)
    golden = ratings.take(ratings.golden)
    most = golden.counts().sum(1).max()
    once = (votes is None or most <= votes) and agree is None
    draws = [
        golden
        if once
        else golden.take(golden.golden, _drawn(golden, ratings, votes or most, rng, agree))
        for _ in range(1 if once else DRAWS)
    ]
    if found.again is not None:
        return np.stack([found.again(draw) for draw in draws])
    known = ratings if calibration is None else calibration

    def tables(left_out: list[str]) -> Tables:
        return count_tables(
            _without_gold_of(known, left_out), ratings.raters, group=group, smoothing=smoothing
        )

    return _cross_fitted(draws, tables, group, rng)


def usual_votes(ratings: Ratings) -> int | None:
    """The median number of answers to a pair that is not golden, None where there is no such pair."""
    counts = ratings.counts().sum(1)[~ratings.golden]
    return int(np.median(counts[counts > 0])) if (counts > 0).any() else None


def _cross_fitted(
    draws: list[Ratings],
    tables: Callable[[list[str]], Tables],
    group: Mask | None,
    rng: np.random.Generator,
) -> Floats:
    """The draws' scores, each image's by tables that were counted without it."""
    items = draws[0].pair_item
    images = np.unique(items)
    if len(images) < 2:
        raise UserError("one golden image is too few to judge the consensus by: add some")
    fold = rng.permutation(len(images)) % min(FOLDS, len(images))
    scores = np.empty((len(draws), len(items)))
    for number in range(fold.max() + 1):
        mine = np.isin(items, images[fold == number])
        fitted = tables([draws[0].items[i] for i in images[fold == number].tolist()])
        for draw, row in zip(draws, scores, strict=True):
            row[mine] = judge(draw.take(mine), fitted, group)
    return scores


def _drawn(
    golden: Ratings,
    ratings: Ratings,
    votes: int,
    rng: np.random.Generator,
    agree: int | None = None,
) -> Mask:
    """(R,) the answers of ``votes`` raters for each pair, the same raters for all pairs of an image.

    Raters are drawn without replacement, with the weight of their answers on the rest (Efraimidis & Spirakis,
    2006): there too the busy ones speak more often.
    """
    rest = ~ratings.golden[ratings.pair]
    weight = np.bincount(ratings.rater[rest], minlength=len(ratings.raters)).astype(np.float64)
    weight = np.maximum(weight, 1e-9) if rest.any() else np.ones(len(ratings.raters))
    key = rng.exponential(size=(len(golden.items), len(golden.raters))) / weight
    order = np.lexsort((key[golden.pair_item[golden.pair], golden.rater], golden.pair))
    starts = np.searchsorted(golden.pair[order], np.arange(len(golden.pair_item)))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - starts[golden.pair[order]]
    if agree is None:
        return np.asarray(rank < votes)
    counts = np.zeros((len(golden.pair_item), len(ANSWERS)), np.int64)
    keep = np.zeros(len(rank), np.bool_)
    for place in range(votes):
        keep |= (rank == place) & (lacking(counts, votes, agree) > 0)[golden.pair]
        now = keep & (rank == place)
        np.add.at(counts, (golden.pair[now], golden.answer[now]), 1)
    return keep


def _without_gold_of(known: Ratings, items: list[str]) -> Ratings:
    """The ratings without what gold says of these items."""
    gone = set(items)
    left_out = np.array([item in gone for item in known.items], np.bool_)
    return replace(known, gold=np.where(left_out[known.pair_item], np.nan, known.gold))
