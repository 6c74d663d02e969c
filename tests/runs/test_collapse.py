"""Warnings of trainings that fail while their numbers look good."""

from __future__ import annotations

import pytest

from reteach.options.methods import MileOptions
from reteach.runs.collapse import CollapseDetector, watch


def told(classes: int, *pseudo: float) -> list[str]:
    detector = CollapseDetector(classes)
    for step, value in enumerate(pseudo):
        detector({"stage": "train", "step": step, "kind": "train", "pseudo_labels": value})
    return detector.warnings


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_empty_pseudo_labels_are_warned_of_once_with_the_next_step(classes):
    (line,) = told(classes, 1.5, 0.2, 0.15, 0.04, 0.04, 0.04, 0.04)
    assert "mostly empty: 0.04 per image" in line
    assert "at step 3" in line
    assert all(way in line for way in ("continuing", "--union", "lower --rho"))


def test_sets_that_are_empty_for_a_moment_are_not():
    assert told(10, 0.1, 0.1, 1.2, 0.1, 0.1, 0.9) == []


def test_full_and_empty_are_both_told():
    first, second = told(4, *[0.1] * 4, *[3.9] * 4)
    assert "empty" in first
    assert "every class present" in second


def test_young_teachers_and_ways_already_taken_are_not_spoken_of():
    continuing = MileOptions(student="continuing")
    young = watch(10, continuing, total=400)
    late = watch(10, continuing, total=400)
    for record in range(4):
        pseudo = {"stage": "train", "kind": "train", "pseudo_labels": 0.0}
        young({**pseudo, "step": 20 * record})
        late({**pseudo, "step": 200 + 20 * record})
    assert young.warnings == []
    (line,) = late.warnings
    assert line.endswith("Try --union or a lower --rho")
