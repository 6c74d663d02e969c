"""CPSD in two processes, from the partition to the student, is CPSD in one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from reteach.engine import distributed
from reteach.engine.run import Run
from reteach.methods import cpsd
from reteach.options.methods import CpsdOptions
from tests.methods.test_cpsd import setup

SETTINGS = CpsdOptions(subsets=2)


def whole(folder: Path, augment: str) -> dict[str, dict[str, torch.Tensor]]:
    """Weights of the student and of each teacher."""
    given = setup(SETTINGS, optimizer="sgd", lr=0.002, augment=augment)
    algorithm = cpsd.train(given, SETTINGS, Run(folder, quiet=True))
    found = {name: t.predictor.models[0] for name, t in algorithm.specialists().items()}
    return {
        name: m.state_dict() for name, m in (found | {"student": algorithm.student.model}).items()
    }


def worker(rank: int, port: int, augment: str, folder: str) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    with distributed.group(torch.device("cpu")):
        found = whole(Path(folder) / "both", augment)
        torch.save(found, Path(folder) / f"{rank}.pt")


@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_two_processes_are_one(tmp_path, augment):
    """Without augmentation the teachers' logits are computed once, else in every step."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    mp.start_processes(worker, (port, augment, str(tmp_path)), nprocs=2, start_method="spawn")
    alone = whole(tmp_path / "alone", augment)
    both = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert alone.keys() == both[0].keys() >= {"student", "co-1", "dis-2"}
    for name, state in alone.items():
        for key, value in state.items():
            assert torch.equal(both[0][name][key], both[1][name][key])
            assert torch.allclose(value, both[0][name][key], rtol=1e-4, atol=2e-5), (name, key)
