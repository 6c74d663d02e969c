"""NCT on 4,000 CIFAR-10 images with wrong labels, beside honest controls.

    python examples/nct_cifar.py CIFAR10.npz [--noise symmetric|worse] [--what main|parts|rates|rivals]
                                 [--augment none|crop-flip] [--epochs 30] [--every 1] [--seeds 3]
                                 [--lr 0.001] [--schedule constant] [--paper] [--images 4000]
                                 [--start 0] [--judge test|validation|noisy] [--smoke]

CIFAR10.npz holds the images as JPEG (arrays jpeg, offsets, label, class_names; 50,000 for training
first); "worse" also wants cifar10n.npz beside it (array worse). --start: the first image to learn from, for
draws that share none. main: two independent networks against
NCT. parts: target variability and balancing alone, mutual learning at NCT's weight (Table 6's last step)
and at its own. rates: Table 5's sweep of r_max. rivals: beside mixup, ELR, co-teaching, M-correction and
DivideMix (of two networks each makes half of the steps of one). --judge validation looks at other
training images in place of the test images: for choices of settings; noisy at their noisy labels, which is
what one has. --paper is the paper's optimiser: SGD at 0.02, momentum without Nesterov's change, weight
decay 1e-5, a tenth of the rate from 90% on. symmetric-keep is the paper's noise, whose draws include the
true label.
"""

from __future__ import annotations

import argparse
import io
import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from reteach.commands.compared import CompareResult
from reteach.compare.compare import ComparisonPlan, compare
from reteach.compare.data import OwnData
from reteach.compare.variants import Variant, variants
from reteach.labels import Single
from reteach.options.shared import Data, Model, Output, Training
from reteach.relabel.noise import transition as noise
from reteach.tables import LabelTable, write_labels

RATE = {"symmetric": "0.5", "symmetric-keep": "0.5", "symmetric20": "0.3", "worse": "0.3"}
"""r_max, as the paper chooses it by the amount of noise: half of the labels, a fifth, two fifths."""
WRONG = {"symmetric": "0.5", "symmetric-keep": "0.45", "symmetric20": "0.2", "worse": "0.4"}
"""Share of wrong labels, which co-teaching is told."""


def prepare(
    pack: Path,
    kind: str,
    folder: Path,
    n_train: int,
    n_test: int,
    judge: str = "test",
    start: int = 0,
) -> OwnData:
    """Write images and label tables as a user would have them; ``judge`` says what is looked at."""
    with np.load(pack, allow_pickle=False) as content:
        jpeg, starts = content["jpeg"], content["offsets"]
        label, names = content["label"].astype(np.int64), tuple(map(str, content["class_names"]))

    def write(name: str, rows: range) -> str:
        images = [Image.open(io.BytesIO(jpeg[starts[i] : starts[i + 1]].tobytes())) for i in rows]
        here = label[list(rows)]
        file = folder / f"{name}.npz"
        np.savez(
            file, images=np.stack(images), labels=here, classes=names, items=list(map(str, rows))
        )
        return str(file)

    folder.mkdir(parents=True, exist_ok=True)
    learned, end = range(start, start + n_train), start + n_train
    train = write("train", learned)
    val = write("val", range(end, end + 200))
    first = 50_000 if judge == "test" else end + 200

    def spoiled(rows: range, seed: int) -> Single:
        if kind == "worse":
            with np.load(pack.with_name("cifar10n.npz"), allow_pickle=False) as human:
                return Single(human["worse"][list(rows)].astype(np.int64), names)
        share = 0.2 if kind == "symmetric20" else 0.5
        shares = noise.symmetric(10, share, keep=kind == "symmetric-keep")
        return noise.by_matrix(Single(label[list(rows)], names), shares, seed)

    tested = range(first, first + n_test)
    if judge == "noisy":
        label[list(tested)] = spoiled(tested, seed=1).index
    test = write("test", tested)
    clean = Single(label[list(learned)], names)
    noisy = spoiled(learned, seed=0)
    for file, labels in (("noisy.csv", noisy), ("clean.csv", clean)):
        items = tuple(map(str, learned))
        write_labels(folder / file, LabelTable(items, labels, file.removesuffix(".csv")))
    data = Data(images=train, labels=folder / "noisy.csv", val_images=val)
    return OwnData(data, test_images=test, clean=folder / "clean.csv")


def rate_of(kind: str, r_max: float | None) -> str:
    """r_max: given, or the paper's."""
    return RATE[kind] if r_max is None else f"{r_max:g}"


def contestants(
    what: str, kind: str, model: Model, training: Training, r_max: float | None = None
) -> tuple[Variant, ...]:
    """The entrants of one table; but for rivals every network sees each image equally often."""
    rate = f"target_variability={rate_of(kind, r_max)}"
    if what == "main":
        return variants(("ensemble", "nct"), model, training, (rate,))[0]
    if what == "rates":
        rates = "nct.target_variability=0,0.1,0.3,0.5,0.7,0.9"
        return variants(("nct",), model, training, (), (rates,))[0]
    if what == "rivals":
        names = ("softmax", "mixup", "elr", "m-correction")
        names += ("ensemble", "nct", "co-teaching", "divide-mix")
        told = (f"nct.target_variability={rate_of(kind, r_max)}", f"forget={WRONG[kind]}")
        return variants(names, model, training, told)[0]
    alone, _ = variants(("variability",), model, training, (rate,))
    balancing, _ = variants(("nct",), model, training, (), ("target_variability=0.0",))
    weight = ("nct.balancing=constant",)
    constant, _ = variants(("nct", "dml"), model, training, ("target_variability=0.0",), weight)
    single, _ = variants(("nct",), model, training, (rate,), ("predict=first",))
    return (*alone, *balancing, *constant, *single)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("--noise", choices=list(RATE), default="symmetric")
    parser.add_argument("--what", choices=["main", "parts", "rates", "rivals"], default="main")
    parser.add_argument("--augment", choices=["none", "crop-flip"], default="none")
    parser.add_argument("--epochs", type=float, default=30, help="of each network")
    parser.add_argument("--every", type=int, default=1, help="epochs between evaluations")
    parser.add_argument("--optimizer", choices=["adam", "sgd"], default="adam")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--schedule", default="constant")
    parser.add_argument("--paper", action="store_true", help="the paper's optimiser and schedule")
    parser.add_argument("--r-max", type=float, help="of NCT")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=4000, help="to learn from")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--judge", choices=["test", "validation", "noisy"], default="test")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--model", default="reteach_mean")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32",
                        help="bf16 only where the processor computes with it (AVX-512)")  # fmt: skip
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true")
    told = parser.parse_args()
    words = f"nct-{told.noise}-{told.what}-{told.augment}-{told.epochs:g}"
    out = told.out or Path("runs") / words
    sizes, epochs, seeds = (told.images, 2000), told.epochs, told.seeds
    if told.smoke:
        sizes, epochs, seeds = (200, 100), 1.0, 1
    model = Model(told.model, precision=told.precision, channels_last=True, device="cpu")
    # the budget counts the backward passes of both networks
    training = Training(epochs=2 * epochs, batch_size=told.batch_size, optimizer=told.optimizer,
                        lr=told.lr, schedule=told.schedule, augment=told.augment)  # fmt: skip
    if told.paper:
        training = replace(training, optimizer="sgd", nesterov=False, lr=0.02, weight_decay=1e-5,
                           schedule="drop", drop_at=0.9)  # fmt: skip
    every = max(1, told.every * sizes[0] // training.batch_size)
    plan = ComparisonPlan(
        f"NCT on CIFAR-10: {words.removeprefix('nct-')}",
        f"{sizes[0]} images, {epochs:g} epochs of each network, augmentation: {told.augment}.",
        out,
        prepare(told.pack, told.noise, out / "data", *sizes, told.judge, told.start),
        tuple(
            replace(entrant, config=replace(entrant.config, output=Output(eval_every=every)))
            for entrant in contestants(told.what, told.noise, model, training, told.r_max)
        ),
        seeds=tuple(range(seeds)),
        sweep={},
        processes=told.processes,
    )
    print(*CompareResult.of(out, compare(plan)).lines(), sep="\n")
