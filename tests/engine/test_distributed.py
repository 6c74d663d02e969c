"""Two processes see the same batches as one, and end with the same weights."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

import toys
from reteach.engine import distributed
from reteach.engine.evaluate import scores
from reteach.engine.run import Run

STEPS = 12


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def worker(rank: int, world: int, port: int, name: str, folder: str) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    with distributed.group(torch.device("cpu")):
        run = Run(Path(folder) / "run", seed=3, quiet=True)
        algorithm = toys.ALGORITHMS[name]()
        stream = toys.stream(rank=distributed.rank(), world=distributed.world())
        run.train("train", algorithm, stream, steps=STEPS)
        predictor = next(iter(algorithm.predictors().values()))
        found = scores(predictor, toys.scan())
        if rank == 0:
            torch.save(toys.weights(algorithm), Path(folder) / "weights.pt")
            torch.save(torch.from_numpy(found[1]), Path(folder) / "scores.pt")


@pytest.mark.parametrize("name", ["clipped", "elr", "mile", "mile continuing cycle", "co-teaching"])
def test_two_processes_train_as_one(tmp_path, name):
    mp.start_processes(
        worker, args=(2, free_port(), name, str(tmp_path)), nprocs=2, start_method="spawn"
    )
    algorithm = toys.ALGORITHMS[name]()
    run = Run(tmp_path / "alone", seed=3, quiet=True)
    run.train("train", algorithm, toys.stream(), steps=STEPS)
    both = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert toys.same(toys.weights(algorithm), both, tolerance=2e-5)
    alone = scores(next(iter(algorithm.predictors().values())), toys.scan())[1]
    together = torch.load(tmp_path / "scores.pt", weights_only=True)
    assert torch.allclose(torch.from_numpy(alone), together, atol=2e-5)


def test_a_batch_is_shared_out_without_overlap():
    whole = toys.stream(batch_size=8)
    halves = [toys.stream(batch_size=8, rank=r, world=2) for r in (0, 1)]
    for batch, *parts in zip(whole.batches(0, 7), *(h.batches(0, 7) for h in halves), strict=True):
        assert torch.equal(batch.rows, torch.cat([p.rows for p in parts]))
        assert torch.equal(batch.x, torch.cat([p.x for p in parts]))


def test_one_process_needs_no_group():
    assert (distributed.rank(), distributed.world()) == (0, 1)
    assert distributed.agreed(True, False, device=torch.device("cpu")) == [True, False]
    assert distributed.average({"a": 1.0}) == {"a": 1.0}
    assert torch.equal(distributed.gather(torch.ones(2)), torch.ones(2))
    with distributed.group(torch.device("cpu")):
        distributed.barrier()
