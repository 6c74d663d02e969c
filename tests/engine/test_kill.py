"""kill -9 at random moments, also while a snapshot is being written, then resume: the same weights."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import IO, Any

import pytest
import torch

import toys
from reteach.engine.run import Run

STEPS, KILLS = 400, 20


def train(folder: Path, name: str = "mile", steps: int = STEPS) -> dict[str, torch.Tensor]:
    """A run with a snapshot at every chance."""
    torch.set_num_threads(1)
    run = Run(folder, seed=3, quiet=True, snapshot_seconds=0)
    return toys.weights(run.train("train", toys.ALGORITHMS[name](), toys.stream(), steps=steps))


def train_and_die_writing(folder: Path, after: int, *how: Any) -> None:
    """The same, killed half-way through writing a snapshot."""
    save, count = torch.save, 0

    def half(content: Any, out: IO[bytes]) -> None:
        nonlocal count
        save(content, out)
        count += 1
        if count > after:
            os.truncate(out.name, os.path.getsize(out.name) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half
    train(folder, *how)


def test_twenty_kills(tmp_path):
    chance = random.Random(7)
    context = multiprocessing.get_context("fork")  # spares twenty imports of torch
    folder = tmp_path / "killed"
    stage = folder / "stages" / "train"
    steps = []
    for number in range(KILLS):
        if number % 2:
            process = context.Process(
                target=train_and_die_writing, args=(folder, chance.randint(0, 6))
            )
            process.start()
        else:
            process = context.Process(target=train, args=(folder,))
            process.start()
            time.sleep(chance.uniform(0.02, 0.3))
            process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run was over too soon: make it longer"
        if number % 2:
            assert any(stage.glob(".*.part")), "the half-written file is what this is about"
        file = stage / "snapshot.pt"
        steps.append(torch.load(file, weights_only=True)["step"] if file.exists() else 0)
    assert steps == sorted(steps)
    assert 0 < steps[-1] < STEPS
    assert toys.same(train(folder), train(tmp_path / "whole"))
    assert not any(stage.glob(".*.part"))


@pytest.mark.parametrize("name", ["sigmoid", "elr", "mile cycle"])
def test_other_methods_survive_a_kill_while_writing(tmp_path, name):
    context = multiprocessing.get_context("fork")
    how = (name, 60)
    process = context.Process(target=train_and_die_writing, args=(tmp_path / "killed", 5, *how))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert toys.same(train(tmp_path / "killed", *how), train(tmp_path / "whole", *how))
