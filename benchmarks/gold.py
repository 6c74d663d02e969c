"""How many golden images does the golden mode need? The released answers of ReaL.

    python benchmarks/gold.py ../shared/data/real [--draws 20]

Some of the 155 golden images teach the raters' error rates, the others judge: average precision of the
probabilities, and precision and recall at 0.8, beside EM and the majority vote, which need no gold. Means
and deviations over random draws of the teaching images; all are judged on the same pairs of a draw.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from reteach.relabel.raters import consensus, reassessed
from reteach.relabel.raters.ratings import Ratings

TEACH = (3, 5, 10, 20, 40, 77)


def taught(known: Ratings, images: np.ndarray) -> Ratings:
    """The golden answers with the gold of these images alone."""
    keep = np.isin(known.pair_item, images)
    return replace(known, gold=np.where(keep, known.gold, np.nan))


def main(folder: Path, draws: int) -> None:
    """A line for each number of golden images and each method."""
    ratings, calibration, _ = reassessed.load(folder)
    group = reassessed.animals()
    golden, truth = ratings.golden, ratings.gold > consensus.EXPERTS
    images = np.unique(ratings.pair_item[golden])
    names = [ratings.items[i] for i in images.tolist()]
    there = {name: i for i, name in enumerate(calibration.items)}
    others = np.array([there[name] for name in names])
    without = {
        "em": consensus.em(ratings, group=group).score,
        "majority": consensus.majority(ratings).score,
    }
    for number in TEACH:
        found: dict[str, list[tuple[float, float, float]]] = {}
        for draw in range(draws):
            chosen = np.random.default_rng(draw).permutation(len(images))[:number]
            judged = golden & ~np.isin(ratings.pair_item, images[chosen])
            part = taught(calibration, others[chosen])
            scores = {"golden": consensus.golden(ratings, calibration=part, group=group).score}
            for method, score in (scores | without).items():
                kept = score[judged] >= (0.5 if method == "majority" else 0.8)
                right = (kept & truth[judged]).sum()
                numbers = (
                    average_precision_score(truth[judged], score[judged]),
                    right / kept.sum(),
                    right / truth[judged].sum(),
                )
                found.setdefault(method, []).append(numbers)
        for method, rows in found.items():
            shown = zip(
                ("AP", "precision", "recall"),
                np.mean(rows, 0),
                np.std(rows, 0, ddof=1),
                strict=True,
            )
            words = ", ".join(f"{name} {100 * m:.1f} ± {100 * s:.1f}" for name, m, s in shown)
            print(f"{number:3} golden images, {method:8}  {words}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=20)
    main(**vars(parser.parse_args()))
