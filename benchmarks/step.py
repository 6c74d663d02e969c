"""What the engine itself costs per step: a linear head on features beside a bare PyTorch loop.

    python -m benchmarks "training, step"

The bare loop has its batches ready: it runs the head, the loss, the backward pass and the optimiser on them
and nothing else. The engine makes its batches, labels and seeds and logs, as in every run. Both end in the
same weights, which is checked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.house import Contest, timed
from reteach.data.dataset import Dataset
from reteach.data.loading.augment import Plain
from reteach.data.loading.batch import Normalize
from reteach.data.loading.samplers import Epochs
from reteach.data.loading.stream import Stream
from reteach.data.sources.base import ArraySource
from reteach.engine.learner import Learner
from reteach.engine.run import Run
from reteach.labels import Single
from reteach.losses.standard import softmax_xent
from reteach.methods.supervised import Supervised
from reteach.models import zoo
from reteach.schedules import Constant

torch.set_num_threads(1)
N, STEPS, BATCH, WIDTH = 5000, 200, 64, 1280


def contest(folder: Path) -> Contest:
    """A row."""
    noise = np.random.default_rng(0)
    features = noise.normal(size=(N, WIDTH)).astype(np.float16)
    labels = Single(noise.integers(0, 10, N), tuple("abcdefghij"))
    stream = Stream(
        Dataset.of(ArraySource(features, features={}), labels),
        Epochs(np.arange(N), 0),
        BATCH,
        Plain(),
        Normalize((0.0,), (1.0,), WIDTH),
        seed=0,
    )
    ready = [(batch.x, batch.y) for batch in stream.batches(0, STEPS)]
    trained: dict[str, torch.nn.Module] = {}

    def learner() -> Learner:
        torch.manual_seed(0)
        model = zoo.create("linear", 10, in_chans=WIDTH, seed=0)
        return Learner(model, torch.optim.AdamW(model.parameters(), 1e-3), Constant(1e-3))

    def bare() -> None:
        made = learner()
        model, optimizer = made.model.train(), made.optimizer
        for x, y in ready:
            loss = softmax_xent(model(x), y).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        trained["bare"] = model

    def engine() -> None:
        made = learner()
        method = Supervised(made, softmax_xent, "softmax")
        Run(None, seed=0, quiet=True).train("train", method, stream, steps=STEPS)
        trained["engine"] = made.model

    def note() -> str:
        weights = (trained[name].state_dict().values() for name in ("bare", "engine"))
        assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True)), "other weights"
        return "Both end in the same weights"

    return Contest(
        f"{STEPS} steps of a linear head on {WIDTH} features, batches of {BATCH} that are ready",
        timed(engine),
        {"bare PyTorch loop": lambda: timed(bare)},
        note=note,
    )
