"""Processes that train as one decide as one: none by its own clock, its own files or its own images.

Each scene is played by two processes whose second one is slow, or sees something else. Where they disagree
they wait for each other for ever; so all of it is bounded by a clock, and a scene that does not end fails.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo  # which training in several processes imports: once here, not in every child
import torch.distributed as dist

import toys
from reteach.data.loading.stream import Scan
from reteach.engine import collapse, distributed, snapshot
from reteach.engine import run as engine
from reteach.engine.evaluate import scores
from reteach.engine.run import Run
from reteach.errors import UserError

from .test_collapse import models, trained

PATIENCE = 15.0
"""Seconds that a scene may take; it needs about one."""


def train(folder: Path, steps: int = 40, **more: float) -> dict[str, torch.Tensor]:
    run = Run(folder, seed=3, quiet=True, **more)
    stream = toys.stream(rank=distributed.rank(), world=distributed.world())
    return toys.weights(run.train("train", toys.ALGORITHMS["softmax"](), stream, steps=steps))


def held_back_after_each_save(folder: Path) -> str:
    """What was seen with torchrun: 20 ms apart, one of the two finds a snapshot late and the other not."""
    save = engine._Loop._save

    def slow(self: engine._Loop, step: int) -> None:
        save(self, step)
        time.sleep(0.02 * distributed.rank())

    engine._Loop._save = slow  # type: ignore[method-assign]
    train(folder, snapshot_seconds=0.03)
    return "done"


def clocks_that_differ(folder: Path) -> str:
    """The first process finds each snapshot late, the second none."""
    train(folder, snapshot_seconds=1e9 * distributed.rank())
    return "done"


def computed_once(folder: Path) -> str:
    """The second process comes when the first has already written what both were to compute."""
    run = Run(folder, quiet=True)
    if distributed.rank():
        time.sleep(0.3)
    found = run.once("value", lambda: {"x": np.arange(3)})["x"].sum()
    agreed = distributed.share(int(found))  # whoever did not wait is out of step here
    return f"{agreed}"


def one_cannot_save(folder: Path) -> str:
    """A full disk ends both, with the same line."""

    def full(*_: object) -> None:
        raise UserError("the disk is full")

    snapshot.save = full  # type: ignore[assignment]
    with pytest.raises(UserError) as caught:
        train(folder)
    return str(caught.value)


def one_finds_no_snapshot(folder: Path) -> str:
    """A folder that the second process does not see: the first one tells it what is there."""
    begun = train(folder, steps=4)
    dist.barrier()
    elsewhere = folder.parent / "elsewhere"
    found = train(folder if distributed.rank() == 0 else elsewhere, steps=4)
    return f"{toys.same(begun, found)} {elsewhere.exists()}"


def one_loss_is_not_finite(folder: Path) -> str:
    """In the second process alone, in the middle of a grid of steps."""
    run, algorithm = Run(folder, quiet=True), toys.ALGORITHMS["softmax"]()
    step = type(algorithm).step

    def poisoned(self, batch):
        found = step(self, batch)
        bad = batch.step == 3 and distributed.rank() == 1
        return {"loss": found["loss"] * (float("nan") if bad else 1)}

    type(algorithm).step = poisoned  # type: ignore[method-assign]
    stream = toys.stream(rank=distributed.rank(), world=distributed.world())
    with pytest.raises(UserError) as caught:
        run.train("train", algorithm, stream, steps=400)
    return str(caught.value)


def one_cannot_read_an_image(folder: Path) -> str:
    """In a scan an image is left out everywhere if the process whose turn it is cannot read it."""
    scan, whole = toys.scan(), Scan.__iter__

    def without_the_third(self):
        for rows, x in whole(self):
            keep = np.flatnonzero(self.dataset.rows[rows] != 3)
            yield rows[keep], x[torch.from_numpy(keep)]

    if distributed.rank() == 0:
        Scan.__iter__ = without_the_third  # type: ignore[method-assign]
    rows, found = scores(toys.learner(1).predictor("softmax"), scan)
    return f"{len(rows)} {3 in rows} {found.sum():.3f}"


def one_is_corrected_for_good(folder: Path) -> str:
    """What one process corrects for good is corrected in the other."""
    algorithm = toys.ALGORITHMS["large-loss permanent"]()
    stream = toys.stream(rank=distributed.rank(), world=distributed.world())
    Run.memory().train("train", algorithm, stream, steps=12)
    return str(algorithm.present.nonzero().tolist())


SCENES: list[Callable[[Path], str]] = [
    held_back_after_each_save,
    clocks_that_differ,
    computed_once,
    one_cannot_save,
    one_finds_no_snapshot,
    one_loss_is_not_finite,
    one_cannot_read_an_image,
    one_is_corrected_for_good,
]


def play(scene: Callable[[Path], str], rank: int, port: int, folder: Path) -> None:
    """One of the two processes."""
    torch.set_num_threads(1)
    place = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", place, timedelta(seconds=PATIENCE), rank=rank, world_size=2)
    said = scene(folder / "run")
    (folder / f"{rank}.txt").write_text(said)
    dist.barrier()
    os._exit(0)


def played(scene: Callable[[Path], str], folder: Path) -> list[str]:
    """What both processes said; they are ended if they wait for each other."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    context = multiprocessing.get_context("fork")  # spares the import of torch
    both = [context.Process(target=play, args=(scene, rank, port, folder)) for rank in (0, 1)]
    for process in both:
        process.start()
    end = time.monotonic() + PATIENCE
    while any(p.is_alive() for p in both) and not any(p.exitcode for p in both):
        if time.monotonic() > end:
            break
        time.sleep(0.02)
    for process in both:
        process.kill()
        process.join()
    files = [folder / f"{rank}.txt" for rank in (0, 1)]
    assert all(file.exists() for file in files), f"{scene.__name__}: they wait for each other"
    return [file.read_text() for file in files]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_ranks_agree_when(scene, tmp_path):
    first, second = played(scene, tmp_path)
    assert first == second
    expected = {
        "computed_once": "3",
        "one_cannot_save": "the disk is full",
        "one_finds_no_snapshot": "True False",
        "one_loss_is_not_finite": "the loss is not finite",
        "one_cannot_read_an_image": "39 False",
    }.get(scene.__name__, "")
    assert first.startswith(expected)


def a_collapse(folder: Path) -> str:
    """Stops both, and both go back."""
    collapse.YOUNG = 0
    stream = toys.stream(rank=distributed.rank(), world=distributed.world())
    run, algorithm = trained(folder, stream=stream)
    torch.save(models(algorithm), folder.parent / f"weights-{distributed.rank()}.pt")
    again, loaded = trained(folder, stream=stream)
    assert toys.same(models(algorithm), models(loaded))
    assert (again.warnings, again.spared) == (run.warnings, run.spared)
    return f"{run.collapse.ended} {run.collapse.step} {run.spared} {run.warnings}"


def test_two_processes_collapse_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(collapse, "YOUNG", 0)
    run, algorithm = trained(tmp_path / "alone")
    said = f"{run.collapse.ended} {run.collapse.step} {run.spared} {run.warnings}"
    assert played(a_collapse, tmp_path) == [said, said]
    for rank in (0, 1):
        both = torch.load(tmp_path / f"weights-{rank}.pt", weights_only=True)
        assert toys.same(models(algorithm), both, tolerance=2e-5)
