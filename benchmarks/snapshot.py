"""What a checkpoint costs: a snapshot that is sealed and survives a crash, beside ``torch.save`` alone."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from benchmarks.house import Contest, timed
from reteach.engine import snapshot
from reteach.engine.learner import Learner
from reteach.losses.standard import softmax_xent
from reteach.methods.supervised import Supervised
from reteach.models import zoo
from reteach.schedules import Constant

MODEL, TIMES = "resnet18", 4


def contest(folder: Path) -> Contest:
    """A row."""
    model = zoo.create(MODEL, 1000, image_size=224, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    method = Supervised(Learner(model, optimizer, Constant(1e-3)), softmax_xent, "softmax")

    def ours() -> None:
        for step in range(TIMES):
            snapshot.save(folder / "snapshot.pt", method, step, "stamp")

    def plain(flush: bool) -> None:
        for step in range(TIMES):
            with open(folder / "plain.pt", "wb") as out:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(state | {"step": step}, out)
                if flush:
                    out.flush()
                    os.fsync(out.fileno())

    return Contest(
        f"{TIMES} snapshots of {MODEL} with AdamW (140 MB each): checksum, written beside and renamed, the "
        "last but one kept",
        timed(ours),
        {
            "torch.save": lambda: timed(lambda: plain(False)),
            "torch.save and fsync": lambda: timed(lambda: plain(True)),
        },
    )
