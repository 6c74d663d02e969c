"""What NCT costs beside one network on the same batches.

    OMP_NUM_THREADS=1 python benchmarks/nct.py [--model reteach_small] [--rounds 7] [--photos]

Ratios of CPU time in one process; the contenders take turns, round by round, and the median round
counts. With --photos the images are JPEG files that have to be decoded, which both networks share.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from reteach.data.dataset import Dataset
from reteach.data.loading.augment import Plain, Train
from reteach.data.loading.batch import Normalize
from reteach.data.loading.samplers import Epochs
from reteach.data.loading.stream import Stream
from reteach.data.sources.base import ArraySource, Source, open_source
from reteach.engine.algorithm import Algorithm
from reteach.engine.learner import Learner
from reteach.engine.run import Run
from reteach.labels import Single
from reteach.losses.standard import softmax_xent
from reteach.methods.nct import Nct
from reteach.methods.nct_schedules import Balancing, ByEpoch, TargetVariability
from reteach.methods.supervised import Supervised
from reteach.models import zoo
from reteach.schedules import Constant

STEPS, BATCH, SIZE = 40, 64, 32


def learner(model: str, seed: int) -> Learner:
    network = zoo.create(model, 10, image_size=SIZE, seed=seed)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    return Learner(network, optimizer, Constant(0.01))


def photos(folder: Path) -> Source:
    """Photo-sized JPEG files."""
    noise = np.random.default_rng(0)
    for row in range(128):
        coarse = Image.fromarray(noise.integers(0, 255, (30, 40, 3), np.uint8))
        coarse.resize((640, 480)).save(folder / f"{row:03}.jpg")
    return open_source(folder)


def measure(source: Source, model: str, rounds: int, from_files: bool) -> list[tuple[float, float]]:
    """Per round, CPU seconds of one network and of NCT."""
    data = Dataset.of(source, Single(np.arange(len(source)) % 10, tuple("abcdefghij")))
    prepare = Normalize((0.5,) * 3, (0.25,) * 3, channels_last=True)
    augment = Train(SIZE) if from_files else Plain()
    alpha = ByEpoch(Balancing(0.9, 0.65, 27), len(data), BATCH)
    rate = ByEpoch(TargetVariability(0.2, 0.5, -1, 30), len(data), BATCH)
    first, second = learner(model, 0), learner(model, 1)
    contenders: list[Algorithm] = [
        Supervised(learner(model, 0), softmax_xent, "softmax"),
        Nct(first, second, alpha, rate),
    ]
    spent = []
    for number in range(rounds + 1):
        seconds = []
        for algorithm in contenders:
            order = Epochs(np.arange(len(data)), number)
            stream = Stream(data, order, BATCH, augment, prepare, number)
            start = time.process_time()
            Run.memory(number).train("train", algorithm, stream, steps=STEPS)
            seconds.append(time.process_time() - start)
        spent.append((seconds[0], seconds[1]))
    return spent[1:]  # the first warms up


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="reteach_small")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--photos", action="store_true")
    told = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source: Source
        if told.photos:
            source = photos(Path(folder))
        else:
            pixels = np.random.default_rng(0).integers(0, 255, (2048, SIZE, SIZE, 3), np.uint8)
            source = ArraySource(pixels)
        spent = measure(source, told.model, told.rounds, told.photos)
    ratios = [nct / one for one, nct in spent]
    one = statistics.median(seconds for seconds, _ in spent) / STEPS
    print(f"one network: {1000 * one:.1f} ms of CPU per step of {BATCH}")
    print(f"NCT / one network: {statistics.median(ratios):.3f} "
          f"(rounds {min(ratios):.3f} to {max(ratios):.3f})")  # fmt: skip
