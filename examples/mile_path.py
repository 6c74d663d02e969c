"""Which way through MILe at many classes: Algorithm 1, the authors' continuing network, the given label kept.

    python examples/mile_path.py [--classes 100 1000] [--seeds 3] [--smoke]

Made-up features: every image has two of C classes, each a direction of its own, and noise; one of the two is
its label, and the other the method has to find. A linear head learns with the recipes' settings (the loss
summed over classes, the output bias at the class frequencies, ρ = 0.25), all with the same backward passes;
test images are judged by both of their classes. "sigmoid" has the same loss and the same bias.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from reteach import sealed
from reteach.commands.compared import CompareResult
from reteach.compare.compare import ComparisonPlan, compare
from reteach.compare.data import OwnData
from reteach.compare.variants import variants
from reteach.data.sources.feature_table import FORMAT, INDEX, FeatureShard, write_shard
from reteach.labels import Multi, Single
from reteach.options.shared import Data, Model, Training
from reteach.tables import LabelTable, write_labels

WIDTH, PER_CLASS = 128, 20
"""Features per image, and training images per class."""


def made(folder: Path, classes: int, per_class: int) -> OwnData:
    """Feature tables of training and test images with their label tables."""
    names = tuple(f"c{i:04}" for i in range(classes))
    draw = np.random.default_rng(0)
    centres = draw.normal(0, 1, (classes, WIDTH)).astype(np.float32)
    for part, n in (("train", classes * per_class), ("val", 1000), ("test", 2000)):
        first = np.arange(n) % classes
        second = (first + draw.integers(1, classes, n)) % classes
        noise = draw.normal(0, 1, (n, 1, WIDTH))
        features = (centres[first] + centres[second])[:, None] + noise
        items = [f"{part}{i}" for i in range(n)]
        settings = {"backbone": "made up", "views": 1}
        shard = FeatureShard(settings, "p", items, features.astype(np.float16))
        table = folder / f"{part}.features"
        table.mkdir(parents=True, exist_ok=True)
        digest = write_shard(table / "part-000000.parquet", shard)
        shards = {"part-000000": digest}
        told = {"format": FORMAT, "settings": settings, "complete": True, "shards": shards}
        sealed.write_json(table / INDEX, told)
        both = np.stack([first, second], 1).ravel()
        sets = Multi.from_pairs(np.repeat(np.arange(n), 2), both, n, names)
        labels = Single(first, names) if part == "train" else sets
        write_labels(folder / f"{part}.parquet", LabelTable(tuple(items), labels, "made up"))
    data = Data(
        images=f"{folder}/train.features",
        labels=folder / "train.parquet",
        val_images=f"{folder}/val.features",
        val_labels=folder / "val.parquet",
    )
    return OwnData(data, f"{folder}/test.features", folder / "test.parquet")


def plan(options: argparse.Namespace, classes: int) -> ComparisonPlan:
    """Sigmoid, and MILe in four ways."""
    folder = options.out / f"{classes}"
    arena = made(folder / "data", classes, 2 if options.smoke else PER_CLASS)
    model = Model("linear", device="cpu")
    steps = 12 if options.smoke else options.steps
    training = Training(steps=steps, batch_size=256, lr=options.lr, weight_decay=1e-4)
    same = ("class_sum=True", "prior_bias=True")
    plain, _ = variants(("sigmoid",), model, training, same)
    ways = ("student=algorithm1,continuing", "union=False,True")
    mile, swept = variants(("mile",), model, training, (*same, *options.set), ways)
    return ComparisonPlan(
        f"MILe at {classes} classes",
        "Made-up features of two classes per image, one of them given.",
        folder,
        arena,
        (*plain, *mile),
        seeds=tuple(range(1 if options.smoke else options.seeds)),
        sweep=swept,
        processes=options.processes,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--set", nargs="*", default=[], help="settings of mile, such as k_t=100")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("runs/mile-path"))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    for classes in options.classes:
        asked = plan(options, classes)
        print(*CompareResult.of(asked.folder, compare(asked)).lines(), sep="\n")
