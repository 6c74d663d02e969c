"""Schedules at the steps where something happens."""

from __future__ import annotations

import itertools

import pytest

from reteach.schedules import Constant, Cosine, Drop, Drops, Warmup, linear_scaling


def test_linear_scaling():
    assert linear_scaling(0.1, 1024) == pytest.approx(0.4)


def test_cosine():
    rate = Cosine(0.4, 100, floor=0.1)
    assert [rate(0), rate(50), rate(100), rate(500)] == pytest.approx([0.4, 0.25, 0.1, 0.1])


@pytest.mark.parametrize(("count", "factor"), [(3, 0.1), (13, 0.5)])
def test_drops_are_equally_spaced(count, factor):
    steps = 14 * 40
    rate = Drops(1.0, steps, count, factor)
    values = [rate(step) for step in range(steps)]
    changes = [step for step in range(1, steps) if values[step] != values[step - 1]]
    assert changes == [steps * i // (count + 1) for i in range(1, count + 1)]
    assert values[-1] == pytest.approx(factor**count)


def test_one_drop():
    rate = Drop(0.02, 180)
    assert [rate(step) for step in (0, 179, 180, 199)] == pytest.approx([0.02, 0.02, 0.002, 0.002])


def test_warmup_meets_its_schedule():
    rate = Warmup(Cosine(1.0, 100), 10, start=0.2)
    rising = [rate(step) for step in range(11)]
    differences = [b - a for a, b in itertools.pairwise(rising)]
    assert differences == pytest.approx([differences[0]] * 10)
    assert rate(10) == Cosine(1.0, 100)(10)
    assert Warmup(Constant(0.3), 0)(0) == 0.3
