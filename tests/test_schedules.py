"""Schedules at the steps where something happens."""

from __future__ import annotations

import itertools

import pytest
import torch

from reteach.engine.optimizer import schedule_of
from reteach.errors import UserError
from reteach.options.shared import Training
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


@pytest.mark.parametrize("milestones", [(0.3333, 0.6667), (0.8, 0.2, 0.5), (0.5, 0.5), (0.001,)])
def test_milestones_are_those_of_pytorch(milestones):
    """After shares of the steps, in any order; one that is named twice counts twice."""
    steps = 90
    given = Training(schedule="multistep", milestones=milestones, lr=0.4)
    rate = schedule_of(given, steps)
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    at = [round(share * steps) for share in milestones]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(theirs, at)
    for step in range(steps):
        assert rate(step) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12), step
        theirs.step()
        scheduler.step()


def test_multistep_without_milestones():
    with pytest.raises(UserError, match="--schedule multistep needs --milestones"):
        Training(schedule="multistep")
    with pytest.raises(UserError, match="--milestones has no effect without --schedule multistep"):
        Training(milestones=(0.5,))


def test_warmup_meets_its_schedule():
    rate = Warmup(Cosine(1.0, 100), 10, start=0.2)
    rising = [rate(step) for step in range(11)]
    differences = [b - a for a, b in itertools.pairwise(rising)]
    assert differences == pytest.approx([differences[0]] * 10)
    assert rate(10) == Cosine(1.0, 100)(10)
    assert Warmup(Constant(0.3), 0)(0) == 0.3
