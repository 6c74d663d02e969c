"""What the engine costs beside a bare PyTorch loop, and MILe beside plain supervised training.

    python -m benchmarks "training, engine"
    OMP_NUM_THREADS=1 python -m benchmarks.engine [--device cuda] [--model resnet18] [--rounds 7]

Both are ratios of CPU time (of wall time on a GPU), of the same batches in the same process. The
contenders take turns, round by round, and the median round counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.house import Contest, timed
from reteach.data.dataset import Dataset
from reteach.data.loading.augment import Plain
from reteach.data.loading.batch import Normalize
from reteach.data.loading.samplers import Epochs
from reteach.data.loading.stream import Scan, Stream
from reteach.data.sources.base import ArraySource
from reteach.engine.algorithm import Algorithm
from reteach.engine.learner import Learner
from reteach.engine.run import Run
from reteach.labels import Single
from reteach.losses.standard import sigmoid_bce
from reteach.methods.distill import make_targets
from reteach.methods.mile import ContinuingMile, Mile
from reteach.methods.mile_labels import PseudoLabeler
from reteach.methods.supervised import Supervised
from reteach.models import zoo
from reteach.schedules import Constant, Cycles

STEPS = 60
N = 1024


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="reteach_small")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args(words)


def contest(folder: Path) -> Contest:
    """A row: plain training."""
    told = arguments([])
    ready = contenders(told)
    return Contest(
        f"{STEPS} supervised steps of {told.model} on {told.size} px images in memory, batches of "
        f"{told.batch_size}: the engine with all it does around a step",
        timed(ready["supervised"]),
        {"bare PyTorch loop": lambda: timed(ready["bare loop"])},
    )


def contenders(told: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Loops of :data:`STEPS` steps."""
    classes = tuple("abcdefghij")
    noise = np.random.default_rng(0)
    images = noise.integers(0, 255, (N, told.size, told.size, 3), np.uint8)
    data = Dataset.of(ArraySource(images), Single(noise.integers(0, 10, N), classes))
    prepare = Normalize((0.5,) * 3, (0.25,) * 3, 3, told.device, channels_last=True)
    device = torch.device(told.device)

    def network() -> torch.nn.Module:
        model = zoo.create(told.model, 10, in_chans=3, image_size=told.size, seed=0)
        return model.to(device, memory_format=torch.channels_last)

    def learner() -> Learner:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        return Learner(model, optimizer, Constant(0.01), precision=told.precision)

    def stream() -> Stream:
        return Stream(data, Epochs(np.arange(N), 0), told.batch_size, Plain(), prepare, 0)

    def bare() -> Callable[[], None]:
        model = network().train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        targets = torch.eye(10)[data.labels.index]  # type: ignore[attr-defined]
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(told.precision)

        def loop() -> None:
            order = torch.randperm(N)
            for step in range(STEPS):
                at = step * told.batch_size % (N - told.batch_size)
                rows = order[at : at + told.batch_size]
                x = prepare(pixels[rows])
                y = targets[rows].to(device, non_blocking=True)
                with torch.autocast(device.type, dtype, enabled=dtype is not None):
                    out = model(x)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(out.float(), y)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

        return loop

    def engine(make: Callable[[], Algorithm]) -> Callable[[], None]:
        algorithm = make()

        def loop() -> None:
            Run.memory().train("train", algorithm, stream(), steps=STEPS)

        return loop

    def mile(k_t: int, k_s: int, cycle: bool = False) -> Algorithm:
        images_once = Scan(data, Plain(), prepare, told.batch_size) if cycle else None
        transmission = PseudoLabeler(make_targets("threshold"), images=images_once)
        return Mile(learner(), learner(), transmission, Cycles.of(k_t, k_s))

    def continuing() -> Algorithm:
        transmission = PseudoLabeler(make_targets("threshold"))
        return ContinuingMile(
            learner(), network().requires_grad_(False), transmission, Cycles.of(40, 20)
        )

    return {
        "bare loop": bare(),
        "supervised": engine(lambda: Supervised(learner(), sigmoid_bce, "sigmoid")),
        "mile 40/20": engine(lambda: mile(40, 20)),
        "mile 30/30": engine(lambda: mile(30, 30)),
        "mile 40/20 continuing": engine(continuing),
        # k_s · B images are taught per cycle and N are scanned: cheaper when k_s · B > N
        f"mile 1/59 per cycle (k_s·B = {59 * told.batch_size}, N = {N})": engine(
            lambda: mile(1, 59, cycle=True)
        ),
        "mile 1/59 per batch": engine(lambda: mile(1, 59)),
    }


def main() -> None:
    """Print milliseconds per step of each."""
    told = arguments()
    device = torch.device(told.device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    ready = contenders(told)
    times: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(told.rounds + 1):
        for name, loop in ready.items():
            start = clock()
            loop()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times[name].append(clock() - start)
    medians = {name: statistics.median(rounds[1:]) for name, rounds in times.items()}
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread"
    print(f"{told.model} {told.size}px batch {told.batch_size} {told.precision} on {where}")
    for name, seconds in medians.items():
        base = medians["bare loop" if name == "supervised" else "supervised"]
        beside = "" if name == "bare loop" else f"{100 * (seconds / base - 1):+6.1f} %"
        print(f"{name:52} {1000 * seconds / STEPS:8.2f} ms/step {beside}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
