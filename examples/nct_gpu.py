"""Table 1 of the NCT paper: CIFAR-10 or CIFAR-100, 200 epochs, PreActResNet-18, three levels of noise.

    python examples/nct_gpu.py cifar-10-batches-py/ [--noise 0 20 50] [--seeds 3] [--compile] [--out FOLDER]
    python examples/nct_gpu.py --smoke      # generated images, a few steps, on a CPU

The images stay on the device and are cropped and flipped there. The folder is CIFAR as published, binary
or Python form. As in the paper, the noise keeps the true label as one of the draws, and r_max is 0.1, 0.3,
0.5 (CIFAR-100: 0.1, 0.7, 0.7), which the paper chose on validation images for each level. The network is
that of NCT's code (preact_resnet18), and the momentum is plain. Otherwise than there, 2% of the images
are held out, and biases and normalisation do not decay. Interrupted, it goes on where it was.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from reteach.commands.compared import CompareResult
from reteach.compare.compare import ComparisonPlan, compare
from reteach.compare.data import OwnData
from reteach.compare.variants import variants
from reteach.data.sources.cifar import CIFAR10, read_cifar
from reteach.labels import Single
from reteach.options.shared import Data, Model, Training
from reteach.relabel.noise import transition as noise
from reteach.tables import LabelTable, write_labels

R_MAX = {10: {0: 0.1, 20: 0.3, 50: 0.5}, 100: {0: 0.1, 20: 0.7, 50: 0.7}}
MODEL = Model("preact_resnet18", precision="bf16", channels_last=True)
TRAINING = Training(epochs=400, batch_size=128, optimizer="sgd", nesterov=False, lr=0.02, weight_decay=1e-5,
                    schedule="drop", drop_at=0.9, augment="crop-flip")  # fmt: skip
"""400 epochs are 200 for each of the two networks."""


def generated(folder: Path) -> Path:
    """CIFAR-10's binary form with random pixels: 5 × 10 images and 10 to test on."""
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        rows = np.random.default_rng(number).integers(0, 256, (10, 3073), np.uint8)
        rows[:, 0] = np.arange(10)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(CIFAR10))
    return folder


def table(folder: Path, percent: int, out: Path, told: argparse.Namespace) -> None:
    """One column of Table 1: an ensemble of two networks, and NCT."""
    _, truth = read_cifar(folder, "train")
    assert isinstance(truth.labels, Single)
    classes = truth.labels.num_classes
    shares = noise.symmetric(classes, percent / 100, keep=True)
    noisy = LabelTable(truth.items, noise.by_matrix(truth.labels, shares, seed=0), f"{percent}%")
    out.mkdir(parents=True, exist_ok=True)
    for file, labels in (("noisy", noisy), ("clean", truth)):
        write_labels(out / f"{file}.parquet", labels)
    model, training = replace(MODEL, compile=told.compile), TRAINING
    if told.smoke:
        model = replace(model, precision="fp32", device="cpu")
        training = replace(training, epochs=1, batch_size=16)
    rate = f"target_variability={R_MAX[classes][percent]}"
    chosen, _ = variants(("ensemble", "nct"), model, training, (rate,))
    share = 0.2 if told.smoke else 0.02
    data = Data(f"cifar:{folder}", out / "noisy.parquet", val_fraction=share, resident=True)
    plan = ComparisonPlan(
        f"NCT on CIFAR-{classes}, {percent}% noise",
        f"200 epochs of two networks, {model.model}, {model.precision}.",
        out,
        OwnData(data, f"cifar:{folder}:test", clean=out / "clean.parquet"),
        chosen,
        seeds=tuple(range(told.seeds)),
        sweep={},
    )
    print(*CompareResult.of(out, compare(plan)).lines(), sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cifar", type=Path, nargs="?")
    parser.add_argument("--noise", type=int, nargs="+", choices=[0, 20, 50], default=[0, 20, 50])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="torch.compile the networks")
    parser.add_argument("--out", type=Path, default=Path("runs/nct-gpu"))
    parser.add_argument("--smoke", action="store_true")
    told = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    with tempfile.TemporaryDirectory() as scratch:
        if told.smoke:
            told.cifar, told.noise, told.seeds = generated(Path(scratch)), [50], 1
        elif told.cifar is None:
            parser.error("name the folder of CIFAR-10 or CIFAR-100")
        for percent in told.noise:
            table(told.cifar.absolute(), percent, told.out.absolute() / f"{percent}", told)
