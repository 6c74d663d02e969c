"""What the engine itself costs per step: a linear head on features beside a bare PyTorch loop.

    OMP_NUM_THREADS=1 python benchmarks/step.py [--steps 400] [--batch-size 64] [--dimensions 1280]

The bare loop has its batches ready: it runs the head, the loss, the backward pass and the optimiser on them
and nothing else. The engine makes its batches, labels and seeds and logs, as in every run. Both end in the
same weights, which is checked. The contenders take turns; processor milliseconds per step, the median of the
rounds counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

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
N = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--dimensions", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=5)
    told = parser.parse_args()
    noise = np.random.default_rng(0)
    features = noise.normal(size=(N, told.dimensions)).astype(np.float16)
    labels = Single(noise.integers(0, 10, N), tuple("abcdefghij"))
    prepare = Normalize((0.0,), (1.0,), told.dimensions)
    stream = Stream(
        Dataset.of(ArraySource(features, features={}), labels),
        Epochs(np.arange(N), 0),
        told.batch_size,
        Plain(),
        prepare,
        seed=0,
    )
    ready = [(batch.x, batch.y) for batch in stream.batches(0, told.steps)]

    def learner() -> Learner:
        torch.manual_seed(0)
        model = zoo.create("linear", 10, in_chans=told.dimensions, seed=0)
        return Learner(model, torch.optim.AdamW(model.parameters(), 1e-3), Constant(1e-3))

    def bare() -> torch.nn.Module:
        made = learner()
        model, optimizer = made.model.train(), made.optimizer
        for x, y in ready:
            loss = softmax_xent(model(x), y).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return model

    def engine() -> torch.nn.Module:
        made = learner()
        Run(None, seed=0, quiet=True).train(
            "train", Supervised(made, softmax_xent, "softmax"), stream, steps=told.steps
        )
        return made.model

    def timed(work: Callable[[], torch.nn.Module]) -> tuple[float, torch.nn.Module]:
        start = time.process_time()
        model = work()
        return (time.process_time() - start) / told.steps * 1000, model

    rounds = [(timed(bare), timed(engine)) for _ in range(told.rounds + 1)][1:]
    for (_, one), (_, other) in rounds:
        for mine, theirs in zip(
            one.state_dict().values(), other.state_dict().values(), strict=True
        ):
            assert torch.equal(mine, theirs), "the engine trains other weights"
    alone = statistics.median(b for (b, _), _ in rounds)
    own = statistics.median(e - b for (b, _), (e, _) in rounds)
    print(f"bare loop {alone:.3f} ms per step, the engine's own cost {own:.3f} ms per step")


if __name__ == "__main__":
    main()
