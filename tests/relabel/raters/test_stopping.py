"""Fewer answers where they agree."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from rating_cases import random_ratings
from reteach.relabel.raters import consensus
from reteach.relabel.raters.golden_scores import golden_scores
from reteach.relabel.raters.ratings import Ratings
from reteach.relabel.raters.stopping import lacking


def literal(answers: tuple[int, ...], wanted: int, agree: int | None) -> int:
    """One question after the rule's words."""
    no, yes = answers.count(0), answers.count(2)
    if len(answers) >= wanted:
        return 0
    if agree is None or (no and yes):
        return wanted - len(answers)
    if len(answers) < agree:
        return agree - len(answers)
    all_no = no == len(answers) or (not yes and no >= agree)
    nearly_all_yes = not no and yes >= max(2, agree - 1)
    return 0 if all_no or nearly_all_yes else 1


@pytest.mark.parametrize("agree", [None, 2, 3, 4])
def test_answers_that_a_question_lacks(agree: int | None) -> None:
    every = [a for n in range(7) for a in product((0, 1, 2), repeat=n)]
    counts = np.array([[a.count(c) for c in (0, 1, 2)] for a in every])
    expected = [literal(a, 5, agree) for a in every]
    assert lacking(counts, 5, agree).tolist() == expected


def test_the_rule_by_example() -> None:
    def of(words: str) -> int:
        counts = [[words.count(letter) for letter in "nmy"]]
        return int(lacking(np.array(counts), 5, 3)[0])

    assert {w: of(w) for w in ("", "n", "nn", "nnn", "yy", "yyy", "yym", "ymm", "nny", "nnmy")} == {
        "": 3,
        "n": 2,
        "nn": 1,
        "nnn": 0,
        "yy": 1,
        "yyy": 0,
        "yym": 0,  # two say yes and nobody no
        "ymm": 1,  # perhaps the next one tells
        "nny": 2,
        "nnmy": 1,
    }


def test_golden_pairs_are_judged_by_as_few_votes_as_others_have() -> None:
    """What precision and recall are read off: draws that stop where their answers agree."""
    ratings = random_ratings(raters=9)
    found = consensus.em(ratings)
    seen: list[Ratings] = []

    def spy(draw: Ratings) -> np.ndarray:
        seen.append(draw)
        return consensus.vote(draw)

    golden_scores(ratings, found.scored_again(spy), votes=3, agree=2, seed=1)
    counts = np.concatenate([draw.counts() for draw in seen])
    assert {literal(tuple(np.repeat([0, 1, 2], row)), 3, 2) for row in counts} == {0}
    agreed = (counts[:, 0] == 0) | (counts[:, 2] == 0)
    assert set(counts.sum(1)) == {2, 3}
    assert (counts.sum(1)[~agreed] == 3).all()
