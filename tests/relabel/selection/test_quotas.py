"""K by the paper's ratio, and the K that are refused: see the paper's Sections 4.1 and 4.3."""

from __future__ import annotations

import pytest

from reteach.errors import UserError
from reteach.relabel.selection.quotas import check_per_class, check_picks, paper_ratio


@pytest.mark.parametrize(
    ("images", "classes", "k"),
    [
        # "K = 16k, 8k and 4k are set for dataset sizes 100M, 50M and 25M"
        (100_000_000, 1000, 16_000),
        (50_000_000, 1000, 8_000),
        (25_000_000, 1000, 4_000),
        (100_000_000, 100, 160_000),  # ten times as many images for each class
        (3_000, 10, 48),
        (300, 10, 10),  # 4.8, below the floor
        (50, 10, 5),  # no more than there are for each class
        (5, 10, 1),
    ],
)
def test_the_default_k_is_the_papers_share_of_the_pile(images, classes, k):
    assert paper_ratio(images, classes) == k
    check_per_class(k, images, classes, None)


def test_a_k_too_large_for_the_pile_is_refused_and_a_smaller_one_named():
    with pytest.raises(UserError, match=r"16,000 .* more than the 3,000 .*; give --per-class 48$"):
        check_per_class(16_000, 3_000, 10, 10)
    with pytest.raises(
        UserError, match=r"too many of 3,000 images for 10 .*; give --per-class 48$"
    ):
        check_per_class(1_501, 3_000, 10, 10)
    check_per_class(1_500, 3_000, 10, 10)
    check_per_class(3_000, 3_000, 10, 1)  # every image under its first choice


def test_picks_of_most_classes_are_refused_and_others_are_not():
    check_picks(5_000, 1_000, 500, 3_000, 10)
    with pytest.raises(UserError, match=r"1,000 images for 5.0 of 10 .*; give --per-class 48$"):
        check_picks(5_001, 1_000, 500, 3_000, 10)
    with pytest.raises(UserError, match=r"give --per-class 20$"):
        check_picks(100, 10, 40, 3_000, 10)  # half of what was given, below the paper's
    with pytest.raises(UserError, match="do not tell the classes apart"):
        check_picks(10, 1, 1, 3_000, 10)
    check_picks(150, 100, 75, 1_000, 2)
    check_picks(0, 0, 75, 1_000, 2)
