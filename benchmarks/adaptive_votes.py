"""Fewer votes where they agree: what is saved, and what it costs, on the released votes of ReaL.

    python benchmarks/adaptive_votes.py ../shared/data/real [--seeds 5]

All 184,962 pairs have five answers. Each seed draws an order of the raters; a pair takes their answers one
by one until it is settled (``relabel tasks --agree``). Three ways from answers to labels, each with all
five answers and with those that were asked for: the Jaccard index of the labels with the experts' on the
golden pairs, with the published labels, and with the labels of all five answers, on rated pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reteach.relabel.raters import consensus, reassessed
from reteach.relabel.raters.ratings import ANSWERS, Ratings
from reteach.relabel.raters.stopping import lacking

Mask = NDArray[np.bool_]
WANTED = 5


def asked_for(ratings: Ratings, agree: int, rng: np.random.Generator) -> Mask:
    """(R,) the answers that are asked for, the raters in one random order for all pairs of an image."""
    key = rng.random((len(ratings.items), len(ratings.raters)))
    order = np.lexsort((key[ratings.pair_item[ratings.pair], ratings.rater], ratings.pair))
    starts = np.searchsorted(ratings.pair[order], np.arange(len(ratings.pair_item)))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - starts[ratings.pair[order]]
    counts = np.zeros((len(ratings.pair_item), len(ANSWERS)), np.int64)
    keep = np.zeros(len(rank), np.bool_)
    for place in range(WANTED):
        now = (rank == place) & (lacking(counts, WANTED, agree) > 0)[ratings.pair]
        keep |= now
        np.add.at(counts, (ratings.pair[now], ratings.answer[now]), 1)
    return keep


def jaccard(a: Mask, b: Mask) -> float:
    """Of two sets of labels."""
    return float((a & b).sum() / (a | b).sum())


def main(folder: Path, seeds: int) -> None:
    """A line for each rule and method."""
    ratings, calibration, _ = reassessed.load(folder)
    group = reassessed.animals()

    def golden(r: Ratings) -> Mask:
        found = consensus.golden(r, calibration=calibration, group=group)
        return np.asarray(found.score >= 0.8)

    methods: dict[str, Callable[[Ratings], Mask]] = {
        "golden": golden,
        "em": lambda r: np.asarray(consensus.em(r, group=group).score >= 0.8),
        "majority": lambda r: np.asarray(consensus.majority(r).score >= 0.5),
    }
    gold, truth = ratings.golden, ratings.gold > consensus.EXPERTS
    full = {name: labels(ratings) for name, labels in methods.items()}
    published = full["golden"]

    def against(found: Mask, name: str) -> list[float]:
        references = (truth[gold], published, full[name])
        return [jaccard(found[gold], references[0]), *(jaccard(found, r) for r in references[1:])]

    print("votes      method    saved   experts  published  five votes")
    for name, labels in full.items():
        numbers = "  ".join(f"{x:9.4f}" for x in against(labels, name))
        print(f"all five   {name:9} {0:5.1%} {numbers}")
    every = np.ones(len(ratings.pair_item), np.bool_)
    for agree in (2, 3):
        rows: dict[str, list[list[float]]] = {name: [] for name in methods}
        for seed in range(seeds):
            keep = asked_for(ratings, agree, np.random.default_rng(seed))
            part = ratings.take(every, keep)
            for name, labels in methods.items():
                rows[name].append([1 - keep.mean(), *against(labels(part), name)])
        for name, found in rows.items():
            mean, spread = np.mean(found, 0), np.std(found, 0, ddof=1) if seeds > 1 else np.zeros(4)
            numbers = "  ".join(
                f"{m:.4f}±{s:.4f}" for m, s in zip(mean[1:], spread[1:], strict=True)
            )
            print(f"--agree {agree}  {name:9} {mean[0]:5.1%} {numbers}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    main(given.folder, given.seeds)
