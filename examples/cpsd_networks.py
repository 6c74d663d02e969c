"""CPSD where every network learns features of its own, and the student is charged nothing for its teachers.

    python examples/cpsd_networks.py PACKS [--classes 50|70] [--network small|wide] [--start random|objects]
                                     [--scenes 12000] [--epochs 8] [--seeds 3] [--only ROW …] [--smoke]

PACKS is a folder with the packs of cpsd_ablation.py's scenes; 70 classes want cifar10.npz and mnist.npz
too. Scenes have 2×2 cells of 32 pixels. As in the paper, the student makes as many steps as the baseline,
and its teachers have as many again together; "baseline, twice" makes all of these alone. With --start
objects all networks begin with the weights of one that tells Tiny ImageNet's 50 kinds of things apart.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from tagged_pictures import prepare, scenes, tiny
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from reteach.commands.compared import CompareResult
from reteach.compare.compare import ComparisonPlan, compare
from reteach.compare.variants import Variant
from reteach.models.small import SmallNet
from reteach.options.methods import AslOptions, CpsdOptions, SoftmaxOptions
from reteach.options.shared import Data, Model, Output, Training
from reteach.runs.config import Config
from reteach.runs.train import train

SIDE = 32

ROWS: dict[str, dict[str, Any]] = {
    "SD": {"subsets": 1},
    "two whole teachers": {"subsets": 1, "twins": True},
    "two random": {"sides": "two-random"},
    "CGPD": {"sides": "co"},
    "DGPD": {"sides": "dis"},
    "CPSD": {},
}

default_cfgs = generate_default_cfgs(
    {"scenes_wide": {"url": "", "input_size": (3, 64, 64), "mean": (0.5,) * 3, "std": (0.5,) * 3,
                     "classifier": "head", "first_conv": "stages.0.0"}}
)  # fmt: skip


@register_model
def scenes_wide(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """reteach_small with twice its width, 300,000 weights with 50 classes."""
    stages = ((32, 3, 5), (64, 2, 3), (128, 2, 3), (128, 1, 3))
    pool = nn.AdaptiveAvgPool2d(3)
    model: nn.Module = build_model_with_cfg(
        SmallNet, "scenes_wide", pretrained, stages=stages, pool=pool, grid=3, **kwargs
    )
    return model


def knows_objects(packs: Path, folder: Path, model: Model, few: bool) -> Model:
    """The same network, starting from what it learned on single things."""
    file = folder / "objects.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        found = tiny(packs, 2 * SIDE)
        rows = np.flatnonzero(~found.tested)
        rows = rows[:: max(1, len(rows) // 150)] if few else rows
        np.savez(file, images=found.cells[rows], labels=found.label[rows], classes=found.names)
    training = Training(epochs=1 if few else 8, batch_size=64, optimizer="adam", lr=2e-3,
                        augment="crop-flip")  # fmt: skip
    data = Data(images=str(file), val_fraction=0.02)
    where = train(
        Config("softmax", SoftmaxOptions(), data, model, training, Output(folder / "backbone"))
    )
    weights = where / "models/model/model.safetensors"
    return replace(model, init=weights, probe_first=False, batch_norm="update")


def entrants(model: Model, training: Training) -> tuple[Variant, ...]:
    """The rows of the table."""
    twice = replace(training, epochs=2 * training.epochs)
    return (
        Variant("baseline", Config("asl", AslOptions(), model=model, training=training), {}),
        Variant("baseline, twice", Config("asl", AslOptions(), model=model, training=twice), {}),
        *(
            Variant(name, Config("cpsd", CpsdOptions(**told), model=model, training=twice), told)
            for name, told in ROWS.items()
        ),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packs", type=Path)
    parser.add_argument("--classes", type=int, choices=[50, 70], default=50)
    parser.add_argument("--network", choices=["small", "wide"], default="small")
    parser.add_argument("--start", choices=["random", "objects"], default="random")
    parser.add_argument("--scenes", type=int, default=12_000)
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", help="some of the rows, by name")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true")
    told = parser.parse_args()
    out = told.out or Path("runs") / f"cpsd-{told.network}-{told.start}-{told.classes}"
    parts, names = scenes(
        told.packs, told.smoke, (told.scenes, 1000, 3000), SIDE, many=told.classes == 70
    )
    network = {"small": "reteach_small", "wide": "scenes_wide"}[told.network]
    model = Model(network, channels_last=True, device="cpu")
    if told.start == "objects":
        model = knows_objects(told.packs, out / "data", model, told.smoke)
    training = Training(
        epochs=1 if told.smoke else told.epochs,
        batch_size=64,
        optimizer="adam",
        weight_decay=0.0,
        warmup=0.0,  # one setting for all rows: the fresh networks and those that know objects
        head_lr_scale=1.0,
        clip=0,
        lr=told.lr,
        augment="none",
    )
    plan = ComparisonPlan(
        f"CPSD, {told.network} networks, {told.start} start, {told.classes} classes",
        f"{len(parts[0][0])} scenes; {training.epochs:g} epochs for each student.",
        out,
        prepare(parts, names, out / "data"),
        tuple(e for e in entrants(model, training) if e.name in (told.only or [e.name])),
        tuple(told.seeds[:1] if told.smoke else told.seeds),
        sweep={},
        early=("baseline",),
        processes=told.processes,
    )
    print(*CompareResult.of(out, compare(plan)).lines(), sep="\n")
