"""What CPSD costs beside the bare training loops of its teachers and its student.

    OMP_NUM_THREADS=1 python benchmarks/cpsd.py [--model reteach_small] [--epochs 60] [--rounds 3]
                                                [--augment none|crop-flip]

The bare loops index a tensor of pixels, normalise, step, and nothing else: no run folder, no log, no
snapshot, no seeds. Both take turns in one process, round by round; the median ratio counts. Without
augmentation the teachers' logits are computed once: the ratio is given with that pass on CPSD's account
alone, and with a bare one on the other side too. With augmentation the teachers speak at every step, and
the bare student asks them as well. The search for the subsets is a
one-off of the data and told apart.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from reteach.data.dataset import Dataset
from reteach.data.sources.base import ArraySource
from reteach.engine.run import Run
from reteach.engine.setup import Setup
from reteach.labels import Multi
from reteach.losses.asymmetric import Asymmetric
from reteach.methods import cpsd
from reteach.methods.cpsd_plan import TeacherPlan, plan_sides, plan_teachers
from reteach.methods.cpsd_teachers import Merged
from reteach.options import shared as options
from reteach.options.methods import CpsdOptions
from reteach.runs.config import Config
from reteach.runs.inputs import Inputs
from reteach.runs.setup import make_setup

SIZE, IMAGES, CLASSES = 48, 512, 24


def photos() -> Dataset:
    """Noise with tags that go together in threes."""
    draw = np.random.default_rng(0)
    topic = draw.integers(0, CLASSES // 3, IMAGES)
    present = draw.random((IMAGES, CLASSES)) < 0.04
    for i in range(3):
        present[np.arange(IMAGES), 3 * topic + i] |= draw.random(IMAGES) < 0.6
    pixels = draw.integers(0, 255, (IMAGES, SIZE, SIZE, 3), np.uint8)
    names = tuple(f"tag {c}" for c in range(CLASSES))
    return Dataset.of(ArraySource(pixels), Multi.from_dense(present, names))


def bare(
    setup: Setup, settings: CpsdOptions, tasks: list[TeacherPlan], sides: list[list[str]]
) -> float:
    """The loops one would write by hand; returns the CPU seconds of a pass of all teachers."""
    pixels = torch.from_numpy(setup.train.source.batch(setup.train.rows)).permute(0, 3, 1, 2)  # type: ignore[attr-defined]
    labels = torch.from_numpy(setup.train.labels.array())
    size, loss_of = setup.training.batch_size, Asymmetric()
    trained: dict[str, torch.nn.Module] = {}

    def loop(model: torch.nn.Module, rows: torch.Tensor, steps: int, y: torch.Tensor,
             said: list[torch.nn.Module]) -> None:  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        model.train()
        order = torch.cat(
            [rows[torch.randperm(len(rows))] for _ in range(1 + steps * size // len(rows))]
        )
        for step in range(steps):
            at = order[step * size : (step + 1) * size]
            x = setup.prepare(pixels[at])
            logits = model(x)
            loss = loss_of(logits, y[at]).mean()
            for side in said:
                with torch.no_grad():
                    target = side(x)
                loss = loss + (logits - target).square().sum(1).mean() / len(said)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    place = {name: i for i, name in enumerate(setup.train.classes)}
    for task in tasks:
        columns = [place[name] for name in task.classes]
        model = setup.build(0, classes=task.classes)
        loop(model, torch.from_numpy(task.rows), task.steps, labels[:, columns], [])
        trained[task.name] = model.eval()
    by_name = {task.name: task for task in tasks}
    both = [
        Merged([trained[n] for n in names], tuple(by_name[n].classes for n in names),
                    setup.train.classes).eval()
        for names in sides
    ]  # fmt: skip
    start = time.process_time()
    with torch.no_grad():
        for part in pixels.split(256):
            for side in both:
                side(setup.prepare(part))
    a_pass = time.process_time() - start
    spoken = [] if setup.training.augment == "none" else both
    steps = round(setup.total * (1 - settings.teacher_share))
    loop(setup.build(0), torch.arange(len(labels)), steps, labels, spoken)
    return a_pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="reteach_small")
    parser.add_argument("--epochs", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--augment", choices=["none", "crop-flip"], default="none")
    told = parser.parse_args()
    torch.set_num_threads(1)
    settings = CpsdOptions(subsets=5)
    config = Config(
        "cpsd",
        settings,
        model=options.Model(told.model, device="cpu"),
        training=options.Training(
            epochs=told.epochs, batch_size=64, optimizer="adam", augment=told.augment
        ),
    )
    setup = make_setup(config, Inputs(photos(), None, None), torch.device("cpu"))
    start = time.process_time()
    sides = plan_sides(setup, settings, Run.memory())
    search = time.process_time() - start
    tasks, whose = plan_teachers(setup, settings, sides)
    cpsd.plan_sides = lambda *_: sides
    ratios, spoken, spent = [], [], []
    for _ in range(told.rounds):
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            cpsd.train(setup, settings, Run(Path(folder) / "run", quiet=True))
            whole = time.process_time() - start
        start = time.process_time()
        a_pass = bare(setup, settings, tasks, whose)
        hand = time.process_time() - start  # with a pass of the teachers
        ratios.append(whole / (hand - a_pass))
        spoken.append(whole / hand)
        spent.append(whole)
    print(f"{len(tasks)} teachers and a student, {setup.total} steps in all: "
          f"{statistics.median(spent):.1f} s of CPU; the subsets took {search:.1f} s")  # fmt: skip
    print(f"CPSD / bare loops: {statistics.median(ratios):.3f} "
          f"(rounds {min(ratios):.3f} to {max(ratios):.3f})")  # fmt: skip
    print(f"CPSD / bare loops and a bare pass of the teachers: {statistics.median(spoken):.3f} "
          f"(rounds {min(spoken):.3f} to {max(spoken):.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
