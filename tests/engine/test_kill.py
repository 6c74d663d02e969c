"""kill -9 at random moments, also while a snapshot is being written, then resume: the same weights."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import torch

import toys
from reteach.data.loading.batch import Batch
from reteach.data.loading.stream import Stream
from reteach.engine.run import Run

STEPS, KILLS = 400, 20


def train(folder: Path, name: str = "mile", steps: int = STEPS) -> dict[str, torch.Tensor]:
    """A run with a snapshot at every chance."""
    torch.set_num_threads(1)
    run = Run(folder, seed=3, quiet=True, snapshot_seconds=0)
    return toys.weights(run.train("train", toys.ALGORITHMS[name](), toys.stream(), steps=steps))


def train_and_die(folder: Path, batches: int, seconds: float) -> None:
    """The same, killed ``seconds`` after its first so many batches, wherever it is then.

    Soon after it waits for that: so no machine is too fast.
    """
    whole = Stream.batches

    def mortal(stream: Stream, start: int, stop: int) -> Iterator[Batch]:
        for number, batch in enumerate(whole(stream, start, stop)):
            if number == batches:
                threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
            if number == batches + 12:
                signal.pause()
            yield batch

    Stream.batches = mortal
    train(folder)


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
            when = (chance.randint(0, 6), chance.uniform(0, 0.03))
            process = context.Process(target=train_and_die, args=(folder, *when))
            process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
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
