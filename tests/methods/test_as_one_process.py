"""Every method learns over several processes what it learns in one: the same losses.

What it does with a batch as a whole (the largest losses, the mean prediction, draws, partners to mix with) it
does with the batch of all processes. Dropout alone draws in each process for itself.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nodes
import toys
from reteach.data.loading.mixing import Mix
from reteach.engine import distributed
from reteach.engine.run import Run
from reteach.losses.partial import expected_positives
from reteach.losses.standard import softmax_xent
from reteach.methods.supervised import Supervised

LONG = bool(os.environ.get("RETEACH_NODES_LONG"))
DROPOUT = ("softmax", "dml")
WHOLE_BATCH = ["mile sample", "large-loss permanent", "nct", "divide-mix"]
WORLD = 4 if LONG else 2
NAMES = [name for name in toys.ALGORITHMS if name not in DROPOUT] if LONG else WHOLE_BATCH
MIXED = "softmax with mixup"


def records(name: str) -> list[dict[str, Any]]:
    """What is logged of a training."""
    more = {"rank": distributed.rank(), "world": distributed.world()}
    if name == MIXED:
        kind = Supervised(toys.learner(), softmax_xent, "softmax")
        mix = Mix(0.8, 0.8, 5, "train")
        stream = toys.stream(mix=mix, reverse=distributed.reverse, **more)
    else:
        kind = toys.ALGORITHMS[name]()
        stream = toys.STREAMS[name]() if name in toys.STREAMS else toys.stream()
        stream = type(stream)(**{**vars(stream), **more})
    run = Run.memory(3)
    run.train("train", kind, stream, steps=12)
    return run.log.records


def trained(out: Path) -> str:
    found = {}
    with distributed.group(torch.device("cpu")):
        for name in [*NAMES, MIXED]:
            found[name] = records(name)
    if distributed.rank() == int(os.environ["RANK"]) == 0:
        out.write_text(json.dumps(found))
    return "done"


def test_every_method_over_several_processes_has_the_losses_of_one(tmp_path):
    out = tmp_path / "records.json"
    assert nodes.played(trained, tmp_path, WORLD, 2, out) == ["done"] * WORLD
    found = json.loads(out.read_text())
    for name in [*NAMES, MIXED]:
        alone = records(name)
        assert len(alone) == len(found[name]) > 0
        for one, several in zip(alone, found[name], strict=True):
            assert one.keys() == several.keys()
            for key, value in one.items():
                assert several[key] == pytest.approx(value, abs=1e-5), (name, key, one["step"])


def whole_batches() -> str:
    """Reverse, slices, and the gradient of what is no mean, in whatever order of processes."""
    with distributed.group(torch.device("cpu")):
        rank, world = distributed.rank(), distributed.world()
        batch = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32))
        part = distributed.own_slice(batch)
        flipped = distributed.own_slice(batch.flip(0))
        assert torch.equal(distributed.reverse(part), flipped)
        assert torch.equal(distributed.reverse(part > 0), flipped > 0)
        z = part.clone().requires_grad_()
        loss = expected_positives(distributed.whole_batch(z), 1.5, torch.ones(6))
        loss.backward()
        whole = batch.clone().requires_grad_()
        expected_positives(whole, 1.5, torch.ones(6)).backward()
        assert torch.allclose(z.grad / world, distributed.own_slice(whole.grad))
        return f"{rank}"


@pytest.mark.parametrize("world", [2, 3])
def test_what_a_process_does_with_the_whole_batch(tmp_path, world):
    said = nodes.played(whole_batches, tmp_path, world, 1)
    assert said == [str(rank) for rank in range(world)]
