"""Do precision and recall on golden images hold on the rest? Simulated raters, whose truth is known.

    python benchmarks/gold_votes.py [--seeds 10]

As the rating server gives tasks out: golden images go to every rater, the others to five. Printed (on gold)
beside true (on the rest) precision and recall, at the default threshold and at --precision 0.9, for
both ways from answers to labels; and what the golden pairs' own scores, of all votes, would have said.
"""

from __future__ import annotations

import argparse

import numpy as np

from reteach.analysis.curves import operating_point, point, threshold_for
from reteach.relabel.raters import consensus
from reteach.relabel.raters.golden_scores import golden_scores
from reteach.relabel.raters.ratings import MAYBE, NO, YES, Ratings

CLASSES = 4


def simulated(
    seed: int, images: int = 400, golden: int = 40, raters: int = 20, votes: int = 5
) -> tuple[Ratings, np.ndarray]:
    """Answers, and (P,) the truth; the last ``golden`` images are golden."""
    rng = np.random.default_rng(seed)
    total = images + golden
    pair_item = np.repeat(np.arange(total), CLASSES)
    truth = rng.random(len(pair_item)) < 0.4
    hard = rng.beta(2, 4, len(pair_item))  # some pairs are hard for everybody
    skill = rng.uniform(0.7, 0.95, raters)
    active = rng.dirichlet(np.full(raters, 3.0))
    rows = []
    for item in range(total):
        who = rng.choice(raters, votes, replace=False, p=active)
        asked = np.arange(raters) if item >= images else who
        rows += [(pair, w) for pair in np.flatnonzero(pair_item == item) for w in asked]
    pair, rater = np.array(rows).T
    right = rng.random(len(pair)) < skill[rater] * (1 - 0.5 * hard[pair])
    answer = np.where(right == truth[pair], YES, NO)
    answer[rng.random(len(pair)) < 0.1] = MAYBE
    gold = np.where(pair_item >= images, truth, np.nan)
    items = [f"{i}.jpg" for i in range(total)]
    names = [f"class {c}" for c in range(CLASSES)]
    columns = np.tile(np.arange(CLASSES), total)
    people = [f"r{w}" for w in range(raters)]
    original = np.full(total, -1)
    return Ratings(
        items, names, pair_item, columns, people, rater, pair, answer, gold, original
    ), truth


def judged(seed: int, method: str, precision: float | None, own: bool = False) -> np.ndarray:
    """(4,) precision and recall on gold, then on the rest.

    Args:
        own: read off the golden pairs' own scores, of all their votes.
    """
    ratings, truth = simulated(seed)
    found = consensus.golden(ratings) if method == "golden" else consensus.em(ratings)
    golden = ratings.golden
    on_gold = found.score[golden][None] if own else golden_scores(ratings, found)
    threshold = 0.8
    if precision is not None:
        known = np.tile(truth[golden], len(on_gold))
        threshold = threshold_for(on_gold.ravel(), known, precision=precision)
    at = operating_point(on_gold, truth[golden], ratings.pair_item[golden], threshold)
    rest = point(found.score[~golden] >= threshold, truth[~golden])
    return np.array([at.precision, at.recall, rest.precision, rest.recall])


def main(seeds: int) -> None:
    """A line for each setting."""
    for method in ("golden", "em"):
        for precision in (None, 0.9):
            for own in (True, False):
                rows = np.array([judged(seed, method, precision, own) for seed in range(seeds)])
                gap = rows[:, :2] - rows[:, 2:]
                asked = "threshold 0.8" if precision is None else f"precision {precision:g}"
                what = "own scores" if own else "as the rest"
                mean, spread = 100 * np.nanmean(rows, 0), 100 * np.nanstd(gap, 0, ddof=1)
                print(
                    f"{method:6} {asked:13} {what:11} on gold {mean[0]:5.1f} / {mean[1]:5.1f}, on the "
                    f"rest {mean[2]:5.1f} / {mean[3]:5.1f}; gap {mean[0] - mean[2]:+.1f} ± "
                    f"{spread[0]:.1f} / {mean[1] - mean[3]:+.1f} ± {spread[1]:.1f}"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error("--seeds: the spread over seeds needs at least 2")
    main(asked.seeds)
