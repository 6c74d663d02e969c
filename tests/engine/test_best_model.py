"""Early stopping and the best validation: functions of what was measured, so that a resume stops alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import toys
from reteach.engine.best_model import BestModel, Patience
from reteach.engine.log import Log
from reteach.engine.run import Run
from reteach.errors import Interrupted, UserError
from reteach.losses.standard import softmax_xent
from reteach.methods.supervised import Supervised

VALUES = [0.1, 0.4, 0.3, None, 0.4, 0.9, 0.9, 0.9]
"""Of the validations, one every 2 steps; the second is the best for the next three."""


@dataclass
class Found:
    value: float | None

    def compute(self) -> dict[str, float]:
        return {"accuracy": self.value}


class Judge:
    """Tells these values, whatever the model."""

    def __init__(self, begin: int = 0) -> None:
        self.at = begin

    def __call__(self, predictor):
        self.at += 1
        return {"val": Found(VALUES[self.at - 1])}


def trained(folder: Path | None, patience: int = 3, begin: int = 0, **more):
    log = Log(folder / "metrics.jsonl") if folder else Log()
    run = Run(folder, log=log, quiet=True, snapshot_seconds=0, **more)
    algorithm = Supervised(toys.learner(), softmax_xent, "softmax")
    run.train(
        "train",
        algorithm,
        toys.stream(),
        steps=16,
        judge=Judge(begin),
        eval_every=2,
        patience=Patience(patience, "accuracy"),
    )
    return run, algorithm


@pytest.mark.parametrize("on_disk", [True, False])
def test_patience_stops_after_so_many_validations_and_keeps_the_best(tmp_path, on_disk):
    run, algorithm = trained(tmp_path if on_disk else None)
    assert [r["step"] for r in run.log.records if r["kind"] == "eval"] == [2, 4, 6, 8, 10]
    best, predictor = run.best(algorithm)
    assert (best.step, best.value) == (4, 0.4)
    short = Supervised(toys.learner(), softmax_xent, "softmax")
    Run.memory().train("train", short, toys.stream(), steps=4)
    kept = predictor.models[0].state_dict()
    expected = short.predictors()["model"].models[0].state_dict()
    assert all(kept[name].equal(expected[name]) for name in kept)
    last = algorithm.predictors()["model"].models[0].state_dict()
    assert not all(kept[name].equal(last[name]) for name in kept)


def test_with_more_patience_the_later_best_is_found():
    run, algorithm = trained(None, patience=4)
    assert run.best(algorithm)[0].step == 12


def test_a_stage_that_stopped_early_is_finished_and_loads(tmp_path, monkeypatch):
    trained(tmp_path)
    monkeypatch.setattr(Supervised, "step", None)
    run, algorithm = trained(tmp_path)
    assert run.best(algorithm)[0].step == 4


@pytest.mark.parametrize("stop", [3, 4, 5, 9])
def test_a_resumed_run_stops_early_where_the_undisturbed_one_does(tmp_path, monkeypatch, stop):
    whole = trained(tmp_path / "whole")
    step, done = Supervised.step, []

    def counted(self, batch):
        if batch.step == stop and not done:
            done.append(1)
            raise Interrupted("now")
        return step(self, batch)

    monkeypatch.setattr(Supervised, "step", counted)
    with pytest.raises(Interrupted):
        trained(tmp_path / "halves")
    halves = trained(tmp_path / "halves", begin=stop // 2)
    a, b = (run.best(algorithm) for run, algorithm in (whole, halves))
    assert (a[0].step, a[0].value) == (b[0].step, b[0].value)
    assert toys.same(toys.weights(whole[1]), toys.weights(halves[1]))
    for x, y in zip(a[1].models[0].parameters(), b[1].models[0].parameters(), strict=True):
        assert x.equal(y)


def test_another_patience_is_refused_by_name(tmp_path):
    trained(tmp_path)
    with pytest.raises(UserError, match="patience"):
        trained(tmp_path, patience=2)


def test_a_damaged_best_model_is_refused(tmp_path):
    run, algorithm = trained(tmp_path)
    file = tmp_path / "stages" / "train" / "best.pt"
    file.write_bytes(file.read_bytes()[:-100] + b"x" * 100)
    with pytest.raises(UserError, match=r"best\.pt"):
        run.best(algorithm)


def test_no_number_is_no_best():
    watched = BestModel(Patience(2, "accuracy"), None)
    watched.replay([{"stage": "s", "kind": "eval", "step": 1}], "s")
    assert watched.value is None
    assert not watched.enough
