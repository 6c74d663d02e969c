"""Runs: stages that load, settings that are held to, failures that keep the last good state."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import toys
from reteach.engine import snapshot
from reteach.engine.evaluate import Evaluation, Evaluator
from reteach.engine.log import Log, read_records, tensorboard
from reteach.engine.run import Run
from reteach.errors import UserError
from reteach.losses.standard import softmax_xent
from reteach.methods.supervised import Supervised
from reteach.schedules import Constant


def supervised(**more) -> Supervised:
    return Supervised(toys.learner(**more), softmax_xent, "softmax")


def quiet(folder, **more) -> Run:
    more.setdefault("log", Log(folder / "metrics.jsonl"))
    return Run(folder, quiet=True, **more)


def test_a_finished_stage_is_loaded_not_trained(tmp_path, monkeypatch):
    trained = quiet(tmp_path).train("train", supervised(), toys.stream(), steps=6)
    monkeypatch.setattr(Supervised, "step", None)
    loaded = quiet(tmp_path).train("train", supervised(), toys.stream(), steps=6)
    assert toys.same(toys.weights(trained), toys.weights(loaded))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: (supervised(rate=Constant(0.5)), toys.stream(), 6), "learner.rate"),
        (lambda: (supervised(adam=True), toys.stream(), 6), "learner.optimizer"),
        (lambda: (supervised(), toys.stream(batch_size=4), 6), "stream.batch_size"),
        (lambda: (supervised(), toys.stream(toys.dataset(seed=1)), 6), "stream.dataset.labels"),
        (lambda: (supervised(), toys.stream(), 7), "steps: 6 there, 7 now"),
        (lambda: (toys.ALGORITHMS["mile"](), toys.stream(), 6), "configuration"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, change, words):
    quiet(tmp_path).train("train", supervised(), toys.stream(), steps=6)
    algorithm, stream, steps = change()
    with pytest.raises(UserError, match=words) as caught:
        quiet(tmp_path).train("train", algorithm, stream, steps=steps)
    assert "\n" not in str(caught.value)


def test_a_change_in_an_early_stage_reaches_the_later_ones(tmp_path):
    def both(first_steps: int) -> None:
        run = quiet(tmp_path)
        run.train(f"first-{first_steps}", supervised(), toys.stream(), steps=first_steps)
        run.train("second", supervised(), toys.stream(), steps=3)

    both(2)
    both(2)
    with pytest.raises(UserError, match="earlier stages"):
        both(3)


def test_once_keeps_its_value(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"x": np.arange(3)}

    for _ in range(2):
        assert quiet(tmp_path).once("value", compute, k=3)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 1
    with pytest.raises(UserError, match=r"arguments\.k: 3 there, 4 now"):
        quiet(tmp_path).once("value", compute, k=4)
    assert Run.memory().once("value", compute)["x"].tolist() == [0, 1, 2]


def test_a_loss_that_is_not_finite_stops_with_all_that_helps(tmp_path, monkeypatch):
    first = supervised(rate=Constant(0.1))
    run = quiet(tmp_path, snapshot_seconds=0)
    step = Supervised.step

    def poisoned(self, batch):
        found = step(self, batch)
        return {"loss": found["loss"] * (float("nan") if batch.step == 4 else 1)}

    monkeypatch.setattr(Supervised, "step", poisoned)
    with pytest.raises(UserError, match=r"step 4 of 'train' \(learning rate 0.1\)") as caught:
        run.train("train", first, toys.stream(), steps=9)
    rows = toys.stream().rows(4)
    assert toys.dataset().items[rows[0]] in str(caught.value)
    kept = supervised(rate=Constant(0.1))
    record = json.loads((tmp_path / "stages/train/record.json").read_text())
    assert record["steps"] == "9"
    file = tmp_path / "stages/train/snapshot.pt"
    stamp = torch.load(file, weights_only=True)["stamp"]
    assert snapshot.load(file, kept, stamp) == 4
    assert snapshot.finite(kept) is None


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    algorithm = supervised(rate=Constant(float("inf")))
    with pytest.raises(UserError, match="not finite"):
        quiet(tmp_path).train("train", algorithm, toys.stream(), steps=1)
    assert not (tmp_path / "stages/train/snapshot.pt").exists()


def test_snapshots_are_checked_leaf_by_leaf(tmp_path):
    file = tmp_path / "s.pt"
    snapshot.save(file, supervised(), 3, "stamp")
    assert snapshot.load(file, supervised(), "stamp") == 3
    with pytest.raises(UserError, match="another configuration"):
        snapshot.load(file, supervised(), "other")
    with pytest.raises(UserError, match=r"has no algorithm\.teacher"):
        snapshot.load(file, toys.mile(), "stamp")
    grown = supervised()
    grown.learner.model[-1] = torch.nn.Linear(6, 4)
    with pytest.raises(UserError, match=r"learner.model.6.weight is \(3, 6\) there, \(4, 6\) here"):
        snapshot.load(file, grown, "stamp")
    shrunk = supervised()
    shrunk.learner.model[-1] = torch.nn.Linear(6, 3, bias=False)
    with pytest.raises(UserError, match=r"model\.6\.bias is left over"):
        snapshot.load(file, shrunk, "stamp")


@pytest.mark.parametrize("damage", ["cut", "garbage", "code", "object", "leaf", "empty"])
def test_an_unreadable_snapshot_is_one_clear_line(tmp_path, damage):
    file = tmp_path / "s.pt"
    snapshot.save(file, supervised(), 3, "stamp")
    content = file.read_bytes()
    states = {"code": _Code(), "object": _Object(), "leaf": {"algorithm.x": _Object()}}
    if damage in states:
        torch.save({"step": 3, "stamp": "stamp", "state": states[damage]}, file)
    else:
        file.write_bytes({"cut": content[:500], "garbage": b"x" * 900, "empty": b""}[damage])
    with pytest.raises(UserError, match=r"cannot be read|is damaged") as caught:
        snapshot.load(file, supervised(), "stamp")
    assert "\n" not in str(caught.value)


class _Code:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


class _Object:
    """Harmless, and let through by some versions of torch."""

    def __reduce__(self):
        return RuntimeError, ("made",)


def test_a_crash_while_saving_leaves_the_earlier_snapshot(tmp_path, monkeypatch):
    file = tmp_path / "s.pt"
    snapshot.save(file, supervised(), 3, "stamp")
    before = file.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="disk full"):
        snapshot.save(file, supervised(), 4, "stamp")
    assert file.read_bytes() == before


def test_the_log_forgets_what_a_crash_threw_away(tmp_path):
    file = tmp_path / "metrics.jsonl"
    log = Log(file)
    for step in (10, 20, 30):
        log.write({"stage": "train", "step": step, "kind": "train", "loss": float("nan")})
    log.write({"stage": "other", "step": 99, "kind": "train"})
    with open(file, "a") as out:
        out.write('{"stage": "train", "st')
    again = Log(file)
    again.rewind("train", 20)
    assert [r["step"] for r in read_records(file)] == [10, 20, 99]
    assert read_records(file)[0]["loss"] is None


def test_evaluations_are_logged_for_every_predictor(tmp_path):
    run = quiet(tmp_path)
    judge = Evaluator((Evaluation("val", toys.scan()), Evaluation("test", toys.scan())))
    run.train("train", toys.mile(), toys.stream(), steps=5, judge=judge, eval_every=2)
    found = [r for r in run.log.records if r["kind"] == "eval"]
    assert [r["step"] for r in found if r["data"] == "val" and r["predictor"] == "teacher"] == [
        2,
        4,
        5,
    ]
    assert {r["predictor"] for r in found} == {"student", "teacher"}
    assert all("f1@tuned" in r for r in found if r["data"] == "test")
    assert not any("f1@tuned" in r for r in found if r["data"] == "val")


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = Log(None, (tensorboard(tmp_path),))
    log.write({"stage": "train", "step": 7, "kind": "train", "loss": 0.5})
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(7, 0.5)]


def test_bad_budgets():
    with pytest.raises(UserError, match="at least one step"):
        Run.memory().train("t", supervised(), toys.stream(), steps=0)
    with pytest.raises(UserError, match="does not split into 3"):
        Run.memory().train("t", supervised(), toys.stream(), steps=2, parts=3)
