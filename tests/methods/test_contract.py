"""One table over all methods: what every algorithm promises the engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import toys
from reteach.data.loading.batch import Batch
from reteach.data.loading.stream import Stream
from reteach.engine import snapshot
from reteach.engine.learner import Learner, Predictor
from reteach.engine.run import Run
from reteach.errors import Interrupted

NAMES = list(toys.ALGORITHMS)
IN_PARTS = ["clipped", "elr", "em-apl", "large-loss permanent", "nct"]
IN_PARTS += ["co-teaching", "m-correction", "divide-mix"]
IN_PARTS += ["mile reset", "mile sample cycle", "mile unlabelled", "mile continuing sample cycle"]
"""Also with accumulated batches: those that remember something, or do something at a phase's first step."""
STEPS = 12


def trained(
    folder: Path | None, name: str, steps: int = STEPS, parts: int = 1
) -> dict[str, torch.Tensor]:
    run = Run(folder, seed=3, quiet=True, snapshot_seconds=0)
    algorithm, stream = toys.ALGORITHMS[name](), toys.STREAMS.get(name, toys.stream)()
    return toys.weights(run.train("train", algorithm, stream, steps=steps, parts=parts))


def interrupting(step: int, act: Callable[[], None]) -> Any:
    """``Stream.batches``, with something happening just before batch ``step`` is handed out."""
    whole = Stream.batches

    def batches(self: Stream, start: int, stop: int) -> Iterator[Batch]:
        for batch in whole(self, start, stop):
            if batch.step == step:
                act()
            yield batch

    return batches


def crash() -> None:
    raise MemoryError("a crash")


@pytest.mark.parametrize(("name", "parts"), [(n, 1) for n in NAMES] + [(n, 2) for n in IN_PARTS])
def test_resume_is_exact_after_any_step(tmp_path, name, parts):
    whole = trained(None, name, parts=parts)
    for step in range(1, STEPS, 2):
        folder = tmp_path / str(step)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Stream, "batches", interrupting(step, crash))
            with pytest.raises(MemoryError):
                trained(folder, name, parts=parts)
        again = trained(folder, name, parts=parts)
        assert toys.same(again, whole), f"stopped before step {step}"


@pytest.mark.parametrize("name", NAMES)
def test_training_is_repeatable_and_learns(name):
    first, second = trained(None, name), trained(None, name)
    assert toys.same(first, second)
    fresh = toys.weights(toys.ALGORITHMS[name]())
    moved = [path for path in fresh if not torch.equal(first[path], fresh[path])]
    assert any(path.endswith("weight") for path in moved)


@pytest.mark.parametrize("name", NAMES)
def test_frozen_teachers_stay_frozen(name):
    algorithm = toys.ALGORITHMS[name]()
    fields = [v if isinstance(v, tuple) else (v,) for v in vars(algorithm).values()]
    frozen = [v for field in fields for v in field if isinstance(v, Predictor)]
    before = [p.clone() for f in frozen for m in f.models for p in m.state_dict().values()]
    Run.memory().train("train", algorithm, toys.stream(), steps=4)
    after = [p for f in frozen for m in f.models for p in m.state_dict().values()]
    assert all(map(torch.equal, before, after))
    assert all(p.grad is None for f in frozen for m in f.models for p in m.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_predictors_give_scores(name):
    algorithm = toys.ALGORITHMS[name]()
    Run.memory().train("train", algorithm, toys.stream(), steps=6)
    batch = next(iter(toys.stream().batches(0, 1)))
    for predictor in algorithm.predictors().values():
        scores = predictor.scores(batch.x)
        assert scores.shape == (8, 3)
        assert not scores.requires_grad
        assert ((scores >= 0) & (scores <= 1)).all()
        if predictor.link == "softmax":
            assert torch.allclose(scores.sum(-1), torch.ones(8))


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_has_every_learner(name, tmp_path):
    algorithm = toys.ALGORITHMS[name]()
    learners = [n for n, v in vars(algorithm).items() if isinstance(v, Learner)]
    paths = snapshot.leaves(algorithm)
    for learner in learners:
        assert any(path.startswith(f"algorithm.{learner}.model.") for path in paths)


def test_interrupts_leave_a_run_that_goes_on(tmp_path):
    whole = trained(None, "mile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Stream, "batches", interrupting(5, lambda: os.kill(os.getpid(), signal.SIGINT))
        )
        with pytest.raises(Interrupted, match="step 6 of 12"):
            trained(tmp_path, "mile")
    assert toys.same(trained(tmp_path, "mile"), whole)


@pytest.mark.parametrize("name", ["clipped", "mile", "distill soft"])
def test_accumulation_computes_the_same_gradient(name, monkeypatch):
    """Without batch statistics the parts of a batch add up to the batch."""
    monkeypatch.setattr(nn, "BatchNorm2d", lambda channels: nn.GroupNorm(2, channels))
    assert toys.same(trained(None, name), trained(None, name, parts=4), tolerance=1e-5)
