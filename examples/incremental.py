"""Classes that arrive in turn: softmax, sigmoid and MILe on an IIRC stream of tasks (MILe's supplement).

    python examples/incremental.py --images train.features --labels train.csv \\
        --test-images test.features --test-labels test.csv    # CIFAR-10: animals and vehicles first
    python examples/incremental.py --tiny tiny_imagenet50.npz        # 50 classes, from scratch at 32 pixels
    python examples/incremental.py --images cifar:cifar-100-python \\
        --test-images cifar:cifar-100-python:test --model resnet18 --hierarchy iirc_cifar100_hierarchy.json \\
        --tasks iirc_cifar100_task_configurations.json

The last two files are those of the package ``iirc`` (folder ``metadata``); --order says which of its orders.
Each task goes on from the network of the one before, with fresh outputs for its classes, and with
--exemplars images of each earlier class. Judged is by IIRC's metric, the precision-weighted Jaccard
similarity with all labels that have been introduced: after each task on all images so far, and at the end on
those of the first and of the last task. A softmax answers its first choice, the others all classes above
0.5. *complete* is what no stream has: all images so far with all their labels, from fresh weights, for as
many steps as all tasks so far. The others have the same number of backward passes per task, the first task
twice as many, as in the code of IIRC's authors.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from torch import nn

from reteach.compare.variants import variants
from reteach.data.dataset import Dataset
from reteach.data.sources.base import ArraySource, open_source
from reteach.data.task_stream import TaskStream
from reteach.engine.evaluate import outputs
from reteach.engine.learner import Predictor
from reteach.engine.run import Run
from reteach.engine.setup import Setup
from reteach.files import write_json
from reteach.labels import Single
from reteach.metrics.jaccard import PrecisionWeightedJaccard
from reteach.models.growing import go_on_with
from reteach.options.methods import METHODS
from reteach.options.shared import Model, Training
from reteach.runs.config import with_network
from reteach.runs.inputs import Inputs, labelled_dataset
from reteach.runs.setup import load_recipe, make_setup

CIFAR10 = {
    "animal": ("bird", "cat", "deer", "dog", "frog", "horse"),
    "vehicle": ("airplane", "automobile", "ship", "truck"),
}
TINY = {
    "amphibian": 3, "reptile": 2, "arachnid": 3, "bird": 4, "dog": 6, "cat": 5, "bear": 1, "insect": 8,
    "hoofed animal": 6, "primate": 3, "panda": 1, "road vehicle": 6, "citrus fruit": 2,
}  # fmt: skip
"""How many of the pack's classes, in its order, go under each name; one alone stands for itself."""
MEMBERS = {
    "softmax": ("softmax", ()),
    "sigmoid": ("sigmoid", ()),
    "MILe, ρ 0.25": ("mile", ("rho=0.25",)),
    "MILe, ρ 0.1": ("mile", ("rho=0.1",)),
    "MILe with the given label, ρ 0.25": ("mile", ("rho=0.25", "union=True")),
    "MILe continuing, ρ 0.25": ("mile", ("rho=0.25", "student=continuing")),
    "sigmoid, no exemplars": ("sigmoid", ()),
    "complete": ("sigmoid", ()),
}


def tiny(file: Path, side: int) -> tuple[Dataset, Dataset, dict[str, tuple[str, ...]]]:
    """50 classes of Tiny ImageNet at ``side`` pixels, and their superclasses."""
    with np.load(file) as pack:
        jpeg, offsets, label, split = (pack[n] for n in ("jpeg", "offsets", "label", "split"))
        names = tuple(str(words).partition(",")[0] for words in pack["words"])
    pixels = np.stack(
        [
            np.asarray(
                Image.open(io.BytesIO(jpeg[a:b].tobytes()))
                .convert("RGB")
                .resize((side, side), Image.Resampling.BOX)
            )
            for a, b in itertools.pairwise(offsets)
        ]
    )
    parts = [np.flatnonzero(split == s) for s in (0, 1)]
    both = [Dataset.of(ArraySource(pixels[p]), Single(label[p], names)) for p in parts]
    ends = np.cumsum(list(TINY.values()))
    cuts = {
        top: names[end - n : end]
        for (top, n), end in zip(TINY.items(), ends.tolist(), strict=True)
        if n > 1 and end <= len(names)
    }
    return both[0], both[1], cuts


def drawn(
    above: Mapping[str, Sequence[str]], fine: Sequence[str], per_task: int, seed: int
) -> tuple[tuple[str, ...], ...]:
    """The superclasses first, then the other classes in a drawn order, so many per task."""
    rest = np.random.default_rng(seed).permutation(sorted(fine)).tolist()
    later = [tuple(rest[i : i + per_task]) for i in range(0, len(rest), per_task)]
    return (tuple(above), *later)


def one_stream(
    stream: TaskStream, test: Dataset, member: str, options: argparse.Namespace, seed: int
) -> dict[str, Any]:
    """The similarities of one member on one stream, in percent."""
    method, settings = MEMBERS[member]
    before: tuple[nn.Module, tuple[str, ...]] | None = None
    so_far, last = [], len(stream.tasks) - 1
    for number in range(last + 1):
        if member == "complete":
            data, before = stream.complete(number), None
        else:
            kept = 0 if member == "sigmoid, no exemplars" else options.exemplars
            data = stream.training(number, kept)
        steps = options.steps * (2 if number == 0 else number + 2 if member == "complete" else 1)
        setup, own = prepared(method, settings, data, steps, before, options, seed)
        trained = load_recipe(METHODS[method].recipe)(setup, own, Run.memory(seed))
        predictor = next(iter(trained.predictors().values()))
        before = (predictor.models[0], data.classes)
        so_far.append(similarity(predictor, setup, stream.judged(test, number)))
    first, new = (similarity(predictor, setup, stream.judged(test, last, t)) for t in (0, last))
    return {"after each task": so_far, "first task": first, "last task": new}


def prepared(
    method: str,
    settings: Sequence[str],
    data: Dataset,
    steps: int,
    before: tuple[nn.Module, tuple[str, ...]] | None,
    options: argparse.Namespace,
    seed: int,
) -> tuple[Setup, Any]:
    """What a task is learned with, and the method's settings; networks go on from the one ``before``."""
    model = with_network(Model(options.model, device="cpu"), options.images)
    training = Training(
        steps=steps, batch_size=options.batch_size, optimizer="adam", lr=options.lr,
        schedule="constant", augment=options.augment, seed=seed,
    )  # fmt: skip
    if method == "mile":  # one generation per task: two thirds the teacher's
        settings = (*settings, f"k_t={steps * 2 // 3}")
    config = variants((method,), model, training, settings)[0][0].config
    setup = make_setup(config, Inputs(data, None, None), torch.device("cpu"))
    if before is not None:
        setup = replace(setup, build=partial(grown, setup, *before))
    return setup, config.settings


def grown(
    setup: Setup, before: nn.Module, known: Sequence[str], *seed: int, **options: Any
) -> nn.Module:
    """A network for the classes of ``setup`` that starts as the one before."""
    made = setup.build(*seed, **options)
    return go_on_with(made, before.state_dict(), known, setup.train.classes)


def similarity(predictor: Predictor, setup: Setup, data: Dataset) -> float:
    """IIRC's metric in percent."""
    metric = PrecisionWeightedJaccard(first_choice=predictor.link == "softmax")
    truth = data.labels.present()
    for rows, found in outputs(predictor.scores, setup.scan(data)):
        metric.update(found.cpu().numpy(), truth[rows])
    return 100 * metric.compute()


def world(options: argparse.Namespace) -> tuple[Dataset, Dataset, dict[str, tuple[str, ...]]]:
    """Images with their finest classes, to learn from and to judge by, and the superclasses."""
    if options.tiny is not None:
        return tiny(options.tiny, options.side)
    above = {top: tuple(under) for top, under in CIFAR10.items()}
    if options.hierarchy is not None:
        above = json.loads(options.hierarchy.read_text())["super_classes"]
    data = labelled_dataset(open_source(options.images), options.labels, options.images)
    test = labelled_dataset(
        open_source(options.test_images), options.test_labels, options.test_images, data.classes
    )
    return data, test, above


def run(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """member -> what each seed found."""
    data, test, above = world(options)
    below = {name for under in above.values() for name in under}
    found: dict[str, list[dict[str, Any]]] = {member: [] for member in options.members}
    for seed in range(options.seeds):
        if options.tasks is None:
            tasks = drawn(above, data.classes, options.per_task, seed)
        else:
            orders = list(json.loads(options.tasks.read_text()).values())
            tasks = tuple(tuple(task) for task in orders[options.order + seed].values())
        missing = sorted((below | set(above)) - {name for task in tasks for name in task})
        if missing:
            print(f"not introduced by any task, first: {missing[0]}")
        stream = TaskStream(data, tasks, above, options.coarse, options.fine, seed)
        for member in options.members:
            found[member].append(one_stream(stream, test, member, options, seed))
            print(f"seed {seed} {member}: {found[member][-1]}", flush=True)
    return found


def table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Means and deviations over the seeds as Markdown, in percent."""
    length = min(len(e["after each task"]) for each in found.values() for e in each)
    heads = [f"after task {n}" for n in range(1, length + 1)]
    heads += ["mean of all", "first task at the end", "last task at the end"]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for member, each in found.items():
        rows = [
            [
                *e["after each task"][:length],
                np.mean(e["after each task"]),
                e["first task"],
                e["last task"],
            ]
            for e in each
        ]
        lines.append(f"| {member} | " + " | ".join(_cell(v) for v in np.array(rows).T) + " |")
    return "\n".join(lines)


def _cell(values: Any) -> str:
    spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", help="images or a feature table to learn from")
    parser.add_argument("--labels", type=Path, help="their finest classes; class folders need none")
    parser.add_argument("--test-images")
    parser.add_argument("--test-labels", type=Path)
    parser.add_argument(
        "--tiny", type=Path, help="50 classes of Tiny ImageNet in one .npz, in their place"
    )
    parser.add_argument("--side", type=int, default=32, help="pixels, of --tiny")
    parser.add_argument(
        "--hierarchy", type=Path, help="as in the package iirc; by default CIFAR-10's"
    )
    parser.add_argument(
        "--tasks", type=Path, help="task orders as in the package iirc; by default drawn"
    )
    parser.add_argument(
        "--order", type=int, default=0, help="the first to take; a seed takes the next"
    )
    parser.add_argument("--per-task", type=int, default=2, help="classes per task of a drawn order")
    parser.add_argument(
        "--coarse", type=float, default=0.4, help="share of images under their superclass"
    )
    parser.add_argument(
        "--fine", type=float, default=0.8, help="share of images under their own class"
    )
    parser.add_argument(
        "--exemplars", type=int, default=20, help="images kept of each earlier class"
    )
    parser.add_argument("--members", nargs="+", choices=list(MEMBERS), default=list(MEMBERS))
    parser.add_argument("--model", default="auto")
    parser.add_argument("--steps", type=int, default=200, help="backward passes per task")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--augment", default="auto")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/iirc"))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.seeds, options.steps, options.batch_size = 1, 6, 16
    torch.set_num_threads(1)
    results = run(options)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "results.json", results)
    print(table(results))
