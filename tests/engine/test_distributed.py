"""Two processes see the same batches as one, and end with the same weights."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import toys
from reteach.engine import distributed, learner
from reteach.engine.evaluate import scores
from reteach.engine.gradients import parallel
from reteach.engine.run import Run
from reteach.losses.standard import softmax_xent
from reteach.methods.supervised import Supervised

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


def stepped(model: torch.nn.Module, rank: int, steps: range) -> None:
    """Steps of SGD, on batches that are functions of rank and step; wrapped anew, as after a restart."""
    wrapped = parallel(model, torch.device("cpu"))
    for step in steps:
        x = torch.randn(8, 16, generator=torch.Generator().manual_seed(10 * step + rank))
        wrapped(x).square().mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
                parameter.grad = None


def restarted(rank: int, world: int, port: int, folder: str) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    with distributed.group(torch.device("cpu")):
        found = []
        for parts in ([range(6)], [range(3), range(3, 6)]):
            torch.manual_seed(0)
            layers = [torch.nn.Linear(*each) for each in ((16, 31), (31, 17), (17, 5))]
            model = torch.nn.Sequential(*(m for layer in layers for m in (layer, torch.nn.Tanh())))
            for part in parts:
                stepped(model, rank, part)
            found.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach())
        if rank == 0:
            torch.save(found, Path(folder) / "found.pt")


def test_processes_that_begin_again_add_gradients_in_the_same_order(tmp_path):
    """Three: the sum of two numbers has no order."""
    mp.start_processes(
        restarted, args=(3, free_port(), str(tmp_path)), nprocs=3, start_method="spawn"
    )
    whole, again = torch.load(tmp_path / "found.pt", weights_only=True)
    assert torch.equal(whole, again)


class Halves(TorchFunctionMode):
    """Batch normalisation of two processes in one: each half of the batch by itself, and running statistics
    by the mean of the two."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return (halved if func is F.batch_norm else func)(*args, **(kwargs or {}))


def halved(x, mean, var, weight, bias, training, momentum, eps):
    assert training
    out, seen = [], []
    for half in x.chunk(2):
        own = mean.clone(), var.clone()
        with torch._C.DisableTorchFunction():
            out.append(F.batch_norm(half, *own, weight, bias, True, momentum, eps))
        seen.append(own)
    with torch.no_grad():
        mean.copy_((seen[0][0] + seen[1][0]) / 2)
        var.copy_((seen[0][1] + seen[1][1]) / 2)
    return torch.cat(out)


def own_norm(rank: int, world: int, port: int, folder: str) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    with distributed.group(torch.device("cpu")):
        weights = each_by_itself(Path(folder) / f"run{rank}", distributed.rank(), 2)
        torch.save(weights, Path(folder) / f"{rank}.pt")


def each_by_itself(folder: Path, rank: int = 0, world: int = 1):
    algorithm = Supervised(toys.learner(norm_over="process"), softmax_xent, "softmax")
    stream = toys.stream(rank=rank, world=world)
    Run(folder, seed=3, quiet=True).train("train", algorithm, stream, steps=STEPS)
    return toys.weights(algorithm)


def test_batch_norm_of_each_process_by_itself(tmp_path, monkeypatch):
    """As each half of the batch normalised by itself, running statistics included; the same in both."""
    mp.start_processes(
        own_norm, args=(2, free_port(), str(tmp_path)), nprocs=2, start_method="spawn"
    )
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert toys.same(one, two)
    whole = each_by_itself(tmp_path / "whole")
    monkeypatch.setattr(learner, "batch_norm_over", lambda over: Halves())
    halves = each_by_itself(tmp_path / "halves")
    assert toys.same(halves, one, tolerance=2e-5)
    assert not toys.same(whole, one, tolerance=1e-3)


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
