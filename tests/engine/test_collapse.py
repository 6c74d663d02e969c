"""Trainings that fail while their numbers look good: noticed, stopped, and gone back from."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import toys
from reteach import rng
from reteach.engine import collapse, snapshot
from reteach.engine.collapse import Collapsed, CollapseDetector, CollapseRule, rule_for
from reteach.engine.log import Log
from reteach.engine.run import Run
from reteach.errors import Interrupted, UserError
from reteach.losses.standard import sigmoid_bce
from reteach.methods.supervised import Supervised
from reteach.options.methods import METHODS, MileOptions


def told(classes: int, *pseudo: float) -> list[str]:
    detector = CollapseDetector(CollapseRule(classes))
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
    rule = rule_for(10, 1.0, "accuracy", True, MileOptions(student="continuing"))
    young, late = (CollapseDetector(rule, begin=100) for _ in range(2))
    for record in range(4):
        pseudo = {"stage": "train", "kind": "train", "pseudo_labels": 0.0}
        young({**pseudo, "step": 20 * record})
        late({**pseudo, "step": 200 + 20 * record})
    assert young.warnings == []
    (line,) = late.warnings
    assert line.endswith("Try --union or a lower --rho")


def test_labels_of_which_nearly_all_are_given_are_no_collapse():
    full = [{"step": s, "kind": "train", "pseudo_labels": 9.9} for s in range(5)]
    assert any(map(CollapseDetector(CollapseRule(10)), full))
    assert not any(map(CollapseDetector(CollapseRule(10, given=9.5)), full))
    seen = {"kind": "eval", "predictor": "model", "data": "val"}
    good = {**seen, "labels_per_image": 3.0, "true_labels_per_image": 9.7}
    rising = [{**good, "step": 0}, *({**good, "labels_per_image": 9.9, "step": s} for s in "12345")]
    assert not any(map(CollapseDetector(CollapseRule(10)), rising))


def test_only_the_first_predictor_on_the_first_data_decides():
    detector = CollapseDetector(CollapseRule(10))
    for step in range(9):
        for who, data, count in (("a", "val", 2), ("a", "test", 2 + step), ("b", "val", 2 + step)):
            record = {"step": step, "kind": "eval", "predictor": who, "data": data}
            assert not detector({**record, "labels_per_image": float(count)})
    assert detector.warnings == []


RULE = CollapseRule(10)
COUNTS = [10, 10, 2, 3, 9.5, 2, 3, 10, 9.9, 9.9, 9.9, 2]
"""Predicted labels per image, a validation every 2 steps: all at first, once for a moment, then for good."""
VALUES = [0.9, 0.9, 0.1, 0.4, 0.8, 0.3, 0.4, 0.9, 0.9, 0.9, 0.9, 0.9]
"""Accuracies. Of those that count the fourth is the best: step 8. The third in a row ends it: step 20."""


class Found:
    def __init__(self, numbers: dict[str, float]) -> None:
        self.numbers = numbers

    def compute(self) -> dict[str, float]:
        return self.numbers


class Judge:
    """Tells these values, whatever the model."""

    def __init__(self, begin: int, counts: list[float]) -> None:
        self.at, self.counts = begin, counts

    def __call__(self, predictor: Any) -> dict[str, Found]:
        self.at += 1
        count, value = self.counts[self.at - 1], VALUES[self.at - 1]
        return {"val": Found({"labels_per_image": count, "accuracy": value})}


def trained(
    folder: Path | None,
    rule: CollapseRule = RULE,
    counts: list[float] = COUNTS,
    steps: int = 24,
    stream: Any = None,
) -> tuple[Run, Supervised]:
    log = Log(folder / "metrics.jsonl") if folder else Log()
    run = Run(folder, seed=3, log=log, quiet=True, snapshot_seconds=0)
    algorithm = Supervised(toys.learner(), sigmoid_bce, "sigmoid")
    judge = Judge(run.trained("train") // 2, counts)
    data = stream or toys.stream()
    run.train("train", algorithm, data, steps=steps, judge=judge, eval_every=2, collapse=rule)
    return run, algorithm


@pytest.fixture(autouse=True)
def old(monkeypatch):
    monkeypatch.setattr(collapse, "YOUNG", 0)


def weights_after(steps: int) -> dict[str, torch.Tensor]:
    short = Supervised(toys.learner(), sigmoid_bce, "sigmoid")
    Run.memory(3).train("train", short, toys.stream(), steps=steps)
    return models(short)


def models(algorithm: Supervised) -> dict[str, torch.Tensor]:
    return algorithm.learner.model.state_dict()


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_collapse_stops_and_goes_back_to_the_best_validation_before_it(tmp_path, on_disk, capsys):
    run, algorithm = trained(tmp_path if on_disk else None)
    assert [r["step"] for r in run.log.records if r["kind"] == "eval"][-1] == 20
    assert toys.same(models(algorithm), weights_after(8))
    assert (run.collapse.ended, run.collapse.step, run.collapse.value) == (20, 8, 0.4)
    assert run.spared == 4
    first, second = run.warnings
    assert "collapse to every class present: 9.5 predicted labels per image of 10 classes" in first
    assert "stopped at step 20 of 24" in second
    assert "the best validation before it, at step 8 (accuracy 0.400)" in second
    assert "--on-collapse warn" in second
    assert capsys.readouterr().err.count("warning: ") == 2
    if on_disk:
        (kept,) = (tmp_path / "stages/train").glob("healthy-*.pt")
        assert kept.name == "healthy-8.pt"


def test_a_collapse_without_a_healthy_validation_is_an_error_and_stays_one(tmp_path):
    full = CollapseRule(10, metric="map")  # which these validations have not
    for _ in range(2):
        with pytest.raises(Collapsed, match="no validation before it was healthy") as caught:
            trained(tmp_path, full)
        assert isinstance(caught.value, UserError)
        assert caught.value.algorithm.predictors()
    assert (tmp_path / "metrics.jsonl").read_text().count('"collapse"') == 1


def test_another_process_gets_the_message_of_a_collapse():
    algorithm = Supervised(toys.learner(), sigmoid_bce, "sigmoid")
    found = pickle.loads(pickle.dumps(Collapsed("it collapsed", algorithm)))
    assert isinstance(found, UserError)
    assert str(found) == "it collapsed"


def test_a_model_that_fell_in_the_last_validation_is_not_handed_over():
    run, algorithm = trained(None, steps=16)
    assert (run.collapse.ended, run.spared) == (16, 0)
    assert toys.same(models(algorithm), weights_after(8))


def test_a_stage_that_ends_well_keeps_no_second_model(tmp_path):
    run, algorithm = trained(tmp_path, steps=14)
    assert run.collapse is None
    assert not any((tmp_path / "stages/train").glob("healthy-*"))
    assert toys.same(models(algorithm), weights_after(14))


def taught(*pseudo: float, alone: bool = True) -> collapse.CollapseWatch:
    """A stage of 40 steps whose student was given these pseudo-labels, with a validation in the middle."""
    rule = CollapseRule(10, taught_itself=alone)
    watch = collapse.CollapseWatch(rule, "train", 40, None)
    algorithm = Supervised(toys.learner(), sigmoid_bce, "sigmoid")
    for step, count in enumerate(pseudo, 1):
        watch.see({"step": step, "kind": "train", "pseudo_labels": count}, algorithm)
    seen = {"kind": "eval", "predictor": "student", "data": "val", "labels_per_image": 0.0}
    watch.see({**seen, "step": 30, "accuracy": 0.2}, algorithm)
    watch.last(40)
    return watch


def test_a_student_that_was_never_taught_a_class_has_failed_and_no_other_has():
    watch = taught(*[0.0] * 20)
    assert (watch.ended, watch.value) == (40, None)
    said = watch.message()
    assert "not one image in a hundred had a pseudo-label; 'train' stopped at step 40" in said
    assert "no model is kept. Try --student continuing, --union or a lower --rho" in said
    for healthy in (taught(0.0, 0.0, 0.2, *[0.0] * 9), taught(*[0.0] * 20, alone=False)):
        assert (healthy.ended, healthy.value) == (None, 0.2)
    rules = [
        rule_for(10, 1.0, "map", True, MileOptions(student=s)) for s in ("algorithm1", "continuing")
    ]
    assert [rule.taught_itself for rule in rules] == [True, False]
    teacher = MileOptions(evaluated_model="teacher")
    assert not rule_for(10, 1.0, "map", True, teacher).taught_itself
    for targets in ("soft", "hard"):  # of which no number of labels is logged
        assert not rule_for(10, 1.0, "accuracy", True, MileOptions(targets=targets)).taught_itself


def test_to_be_warned_only_is_recorded_and_trains_to_the_end(tmp_path):
    warn = CollapseRule(10, stop=False)
    run, algorithm = trained(tmp_path, warn)
    assert toys.same(models(algorithm), weights_after(24))
    assert (len(run.warnings), run.collapse, run.spared) == (1, None, 0)
    with pytest.raises(UserError, match="on_collapse"):
        trained(tmp_path)


def test_a_finished_run_of_before_there_was_a_stop_stays_finished(tmp_path):
    warn = CollapseRule(10, stop=False)
    trained(tmp_path, warn)
    record = tmp_path / "stages/train/record.json"
    lines = [x for x in record.read_text().splitlines(keepends=True) if "on_collapse" not in x]
    record.write_text("".join(lines))
    file = tmp_path / "stages/train/snapshot.pt"
    content = torch.load(file, weights_only=True)
    stamp = f"{rng.fold(json.dumps(json.loads(record.read_text()), sort_keys=True)):016x}"
    torch.save({**content, "stamp": stamp}, file)
    run, algorithm = trained(tmp_path)
    assert run.collapse is None
    assert toys.same(models(algorithm), weights_after(24))


def until(folder: Path, stop: int) -> None:
    """The same, interrupted in a step."""
    step = Supervised.step

    def counted(self: Supervised, batch: Any) -> Any:
        if batch.step == stop:
            raise Interrupted("now")
        return step(self, batch)

    Supervised.step = counted
    try:
        trained(folder)
    finally:
        Supervised.step = step


@pytest.mark.parametrize("stop", [1, 7, 8, 9, 13, 18, 19])
def test_a_resumed_run_collapses_where_the_undisturbed_one_does(tmp_path, stop):
    run, algorithm = trained(tmp_path / "whole")
    with pytest.raises(Interrupted):
        until(tmp_path / "halves", stop)
    again, resumed = trained(tmp_path / "halves")
    same_run(tmp_path, run, again)
    assert toys.same(models(algorithm), models(resumed))


def same_run(folder: Path, run: Run, again: Run) -> None:
    whole, halves = (folder / name for name in ("whole", "halves"))
    assert (whole / "metrics.jsonl").read_text() == (halves / "metrics.jsonl").read_text()
    assert (run.warnings, run.spared) == (again.warnings, again.spared)
    names = [sorted(f.name for f in (x / "stages/train").iterdir()) for x in (whole, halves)]
    assert names[0] == names[1]


def die(folder: Path, where: str, at: int) -> None:
    """Killed with -9 as the ``at``-th file is to be written: the weights to go back to, or a snapshot."""
    done = 0

    def mortal(*arguments: Any) -> None:
        nonlocal done
        done += 1
        if done == at:
            os.kill(os.getpid(), signal.SIGKILL)
        whole(*arguments)

    owner = {"keep": collapse.CollapseWatch, "tidy": collapse.CollapseWatch, "save": snapshot}[
        where
    ]
    whole = getattr(owner, where)
    setattr(owner, where, mortal)
    trained(folder)


@pytest.mark.parametrize(
    ("where", "at"),
    [("keep", 8), ("save", 8), ("tidy", 8), ("keep", 20), ("save", 20), ("tidy", 20)],
)
def test_killed_before_at_and_after_the_stop_it_ends_alike(tmp_path, where, at):
    run, algorithm = trained(tmp_path / "whole")
    context = multiprocessing.get_context("fork")
    process = context.Process(target=die, args=(tmp_path / "halves", where, at))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    again, resumed = trained(tmp_path / "halves")
    trained(tmp_path / "halves")
    assert toys.same(models(algorithm), models(resumed))
    if (where, at) != ("tidy", 20):  # the weights before those of the best are then still there
        same_run(tmp_path, run, again)


def test_methods_with_one_sigmoid_per_class_can_collapse():
    able = {name for name, method in METHODS.items() if method.collapses}
    assert {"sigmoid", "mile", "asl", "wan", "role", "cpsd", "distill"} <= able
    assert not able & {"softmax", "elr", "nct", "semi", "ensemble", "noisy-student"}
