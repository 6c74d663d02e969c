"""From answers to labels: one probability per (item, class) pair, and the labels above a threshold.

Beyer et al., "Are we done with ImageNet?", Section 3.3. Three ways from answers to probabilities (three
more are in
:mod:`.pair_models`):

* :func:`golden` — the raters' error rates are counted on golden pairs, then the E-step of Dawid &
  Skene is done once. The labels published with the paper are made so, although its text speaks of
  inferring error rates by maximum likelihood;
* :func:`em` — error rates and truths are found together by EM, without golden pairs;
* :func:`majority` — the share of *yes*, a *maybe* counting half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...item_index import rows_among
from ...labels import Multi
from .dawid_skene import FLOOR, Answers, count_confusions, dawid_skene, normalize, truths_given
from .ratings import ANSWERS, NO, YES, Ratings
from .stopping import lacking

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

VIRTUAL = "original label"  # the name of the virtual rater
TOLERANCE = 1e-7  # EM stops when the log-likelihood changes by less per answer
EXPERTS = 0.5  # a golden pair is true where more than this share of the experts said yes
EXPERTS_LOOSE = 0.4  # the published table of the virtual rater: at least 2 of 5 experts


@dataclass(frozen=True, eq=False)
class Tables:
    """What is known of the raters: how each answers where the class is absent, and where present."""

    raters: list[str]
    """(W,) names, the virtual rater last if there is one."""
    confusion: Floats
    """(W, 2, 3) probability of *no, maybe, yes* where the class is absent, and where present."""
    prior: float
    """How often an asked class is present."""


@dataclass(frozen=True, eq=False)
class Consensus(Tables):
    """What the raters agree on; ``raters`` is empty for a majority vote, and ``confusion`` where the method
    has no such tables."""

    score: Floats
    """(P,) probability that the pair's class is in the image."""
    method: str
    log_likelihood: tuple[float, ...] = ()
    rater_quality: Floats | None = None
    """(W,) what the method found of each rater: MACE's competence, GLAD's ability, CROWDLAB's weight."""
    model_weight: float | None = None
    """CROWDLAB: beside the raters' weights."""
    again: Callable[[Ratings], Floats] | None = field(default=None, repr=False)
    """Scores other answers of the same raters to some of the same pairs, by what was found; None: the tables
    have to be counted anew, because they have seen the truth of golden pairs."""

    def scored_again(self, by: Callable[[Ratings], Floats]) -> Consensus:
        """The same, with ``again``."""
        return replace(self, again=by)


def answers_of(ratings: Ratings) -> Answers:
    """The answers as Dawid & Skene see them: one task per pair, three choices."""
    return Answers(
        ratings.pair,
        ratings.rater,
        ratings.answer,
        len(ratings.pair_item),
        len(ratings.raters),
        len(ANSWERS),
    )


def virtual_answers(ratings: Ratings) -> NDArray[np.int8]:
    """(P,) what the original label answers: *yes* to itself, *no* to every other class."""
    return np.where(ratings.pair_original(), YES, NO).astype(np.int8)


def with_original(ratings: Ratings, group: Mask) -> Ratings:
    """The ratings with the original label as one more rater on the pairs of a group of classes.

    Args:
        group: (C,) classes that the original label is trusted to know, e.g. animals, whose labels
            came from expert websites (Section 3.3).
    """
    asked = group[ratings.pair_class] & (ratings.original[ratings.pair_item] >= 0)
    pairs = np.flatnonzero(asked)
    return ratings.with_rater(VIRTUAL, pairs, virtual_answers(ratings)[pairs])


def golden(
    ratings: Ratings,
    *,
    calibration: Ratings | None = None,
    group: Mask | None = None,
    smoothing: float = 1.0,
) -> Consensus:
    """Probabilities from error rates counted on golden pairs.

    A rater without golden answers gets the mean of the others' tables. The prior is the share of
    golden pairs that are true. The virtual rater's table is counted on all golden pairs against a
    looser truth (at least 2 of 5 experts), as in the published labels.

    Args:
        calibration: answers on golden pairs, by raters of the same names; default: ``ratings``.
        group: (C,) classes for which the original label answers too; default: none.
        smoothing: added to each cell of a table before it is normalised.

    Raises:
        UserError: no golden pair has been answered.
    """
    known = ratings if calibration is None else calibration
    tables = count_tables(known, ratings.raters, group=group, smoothing=smoothing)
    score = judge(ratings, tables, group)
    return Consensus(tables.raters, tables.confusion, tables.prior, score, "golden")


def gold_can_judge(known: Ratings) -> bool:
    """Whether raters can be judged by golden pairs: some are answered, and there are true and false ones."""
    return (
        bool(known.golden[known.pair].any()) and 0 < (known.gold[known.golden] > EXPERTS).mean() < 1
    )


def count_tables(
    known: Ratings, raters: list[str], *, group: Mask | None = None, smoothing: float = 1.0
) -> Tables:
    """The tables of these raters, counted on the golden pairs of ``known``; see :func:`golden`.

    Raises:
        UserError: no golden pair has been answered, or all are true, or all are false.
    """
    pairs = known.golden
    if not pairs.any() or not pairs[known.pair].any():
        raise UserError("no golden pair has been answered yet: use the method 'em' or 'majority'")
    truth = known.gold > EXPERTS
    prior = float(truth[pairs].mean())
    if not 0 < prior < 1:
        raise UserError(
            "the golden pairs are all true or all false: the raters cannot be judged by them; use the "
            "method 'em' or 'majority' (--method em)"
        )

    counts = count_confusions(_only(answers_of(known), pairs[known.pair]), _one_hot(truth))
    at = rows_among(raters, known.raters)
    judged = counts.sum((1, 2)) > 0
    tables = np.maximum(normalize(counts, smoothing), FLOOR)
    mean = tables[judged].mean(0, keepdims=True)
    confusion = np.concatenate([np.where(judged[:, None, None], tables, mean), mean])[at]
    if group is None or not group.any():
        return Tables(raters, confusion, prior)

    asked = pairs & (known.original[known.pair_item] >= 0)  # no original label, no answer
    said, loose = virtual_answers(known)[asked], known.gold[asked] >= EXPERTS_LOOSE
    table = np.bincount(loose * 3 + said, minlength=6).reshape(1, 2, 3).astype(np.float64)
    rule = np.maximum(normalize(table, smoothing), FLOOR)
    return Tables([*raters, VIRTUAL], np.concatenate([confusion, rule]), prior)


def judge(ratings: Ratings, tables: Tables, group: Mask | None = None) -> Floats:
    """(P,) probability that each pair's class is present, for known raters: the E-step once.

    Args:
        tables: of the raters of ``ratings``, in their order, then of the virtual rater where there is one.
        group: (C,) classes for which the virtual rater answers.
    """
    if group is not None and group.any():
        ratings = with_original(ratings, group)
    both = np.array([1 - tables.prior, tables.prior])
    return truths_given(answers_of(ratings), both, tables.confusion)[:, 1]


def em(
    ratings: Ratings,
    *,
    group: Mask | None = None,
    iterations: int = 100,
    tolerance: float = TOLERANCE,
    smoothing: float = 1.0,
) -> Consensus:
    """Probabilities from EM over 2 truths and 3 answers, started at the vote (of the virtual rater too).

    Args:
        group: (C,) classes for which the original label answers too; default: none.
        iterations, tolerance, smoothing: see :func:`reteach.relabel.raters.dawid_skene.dawid_skene`.
    """
    full = ratings if group is None or not group.any() else with_original(ratings, group)
    answers = answers_of(full)
    present = vote(full)
    start = np.stack([1 - present, present], axis=1)
    found = dawid_skene(
        answers, start, iterations=iterations, tolerance=tolerance, smoothing=smoothing
    )
    fit = Consensus(
        full.raters,
        found.confusion,
        float(found.prior[1]),
        found.posterior[:, 1],
        "em",
        found.log_likelihood,
    )
    return fit.scored_again(lambda draw: judge(draw, fit, group))


def vote(ratings: Ratings) -> Floats:
    """(P,) share of *yes* among the answers, a *maybe* counting half; 0 where nobody answered.

    At least 0.5 exactly where there are no fewer *yes* than *no*.
    """
    counts = ratings.counts()
    total = np.maximum(counts.sum(1), 1)
    return np.asarray((counts[:, 2] + 0.5 * counts[:, 1]) / total)


def majority(ratings: Ratings) -> Consensus:
    """The vote as scores: a threshold of 0.5 keeps ties, one just above it drops them.

    Keeping ties gives the paper's 90.8% precision at 71.8% recall.
    """
    none = np.empty((0, 2, 3))
    return Consensus([], none, float("nan"), vote(ratings), "majority").scored_again(vote)


def decided(ratings: Ratings, wanted: int = 1, agree: int | None = None) -> Mask:
    """(N items) where every asked class has at least ``wanted`` answers, fewer that agree, or a golden one;
    False for items that nobody was asked about.

    Args:
        agree: answers that settle a class on which raters agree, see :mod:`.stopping`.
    """
    open_ = (lacking(ratings.counts(), wanted, agree) > 0) & ~ratings.golden
    asked = np.zeros(len(ratings.items), np.bool_)
    asked[ratings.pair_item] = True
    asked[ratings.pair_item[open_]] = False
    return asked


def labels(
    ratings: Ratings,
    score: Floats,
    threshold: float,
    *,
    wanted: int = 1,
    agree: int | None = None,
    gold: bool = False,
) -> Multi:
    """(N items) the classes scored at least ``threshold``; items not :func:`decided` keep the original label.

    A decided item may end up with the empty set: none of the asked classes is in it.

    Args:
        score: (P,) probabilities; NaN where nobody answered.
        wanted, agree: answers that a pair needs before its item is decided, see :func:`decided`.
        gold: golden pairs are kept where gold says so, whatever the score.
    """
    known = decided(ratings, wanted, agree)
    keep = score >= threshold
    if gold:
        keep = np.where(ratings.golden, ratings.gold > EXPERTS, keep)
    keep &= known[ratings.pair_item]
    rest = np.flatnonzero(~known & (ratings.original >= 0))
    return Multi.from_pairs(
        np.concatenate([ratings.pair_item[keep], rest]),
        np.concatenate([ratings.pair_class[keep], ratings.original[rest]]),
        len(ratings.items),
        ratings.classes,
    )


def _only(answers: Answers, keep: Mask) -> Answers:
    return Answers(
        answers.task[keep],
        answers.rater[keep],
        answers.answer[keep],
        answers.tasks,
        answers.raters,
        answers.choices,
    )


def _one_hot(truth: Mask) -> Floats:
    return np.stack([~truth, truth], axis=1).astype(np.float64)
