"""The billion-scale paper's Table 8 in small: the networks of semi_student.py on dogs and cats.

    python examples/semi_transfer.py STUDENTS TINY_IMAGENET50.npz [--epochs 30]
    python examples/semi_transfer.py --smoke

STUDENTS is the --out of semi_student.py. Eleven classes of Tiny ImageNet, six dogs and five cats, at 32
pixels: 300 images each to learn from, 50 to judge. fc-only is a logistic regression on the frozen network,
full-ft the whole network fine-tuned (`reteach transfer`), both from supervised training, from the student
as pretrained on the picks, and from the student; *from scratch* is the same network and training without
any weights. The rate of each row is chosen once, with the first seed's network, on a held-out fifth of the
images to learn from.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pipeline import interval
from semi_student import made_up as students_made_up
from semi_student import main as students

from reteach.cli import run
from reteach.options import train as methods
from reteach.options.shared import Data, Model, Output, Training
from reteach.options.transfer import TransferOptions

DOGS_AND_CATS = range(12, 23)
"""Of the 50 classes."""
RATES = (0.01, 0.03, 0.1)
ROWS = {"supervised": ("supervised", "model"), "pretrained": ("student", "pretrained"),
        "student": ("student", "student")}  # fmt: skip
"""Row -> the run of semi_student.py and which of its models."""


def prepare(pack: Path, folder: Path, side: int = 32) -> tuple[str, str]:
    """The training and the test images, as files of arrays."""
    with np.load(pack, allow_pickle=False) as content:
        jpeg, starts, label = content["jpeg"], content["offsets"], content["label"].astype(np.int64)
        split, names, words = content["split"], content["name"], content["words"]
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for number, part in enumerate(("train", "test")):
        rows = np.flatnonzero((split == number) & np.isin(label, DOGS_AND_CATS))
        read = []
        for row in rows.tolist():
            with Image.open(io.BytesIO(jpeg[starts[row] : starts[row + 1]].tobytes())) as image:
                read.append(
                    np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BOX))
                )
        classes = [str(words[c]).split(",")[0] for c in DOGS_AND_CATS]
        file = folder / f"{part}.npz"
        np.savez(file, images=np.stack(read), labels=label[rows] - DOGS_AND_CATS.start,
                 classes=classes, items=[str(n) for n in names[rows]])  # fmt: skip
        out.append(str(file))
    return out[0], out[1]


def judged(folder: Path) -> float:
    """Accuracy in percent on the images that were held out or given to judge."""
    numbers = folder / "transfer.json"
    if numbers.exists():
        return 100 * float(json.loads(numbers.read_text())["metrics"]["accuracy"])
    found = json.loads((folder / "evaluation.json").read_text())["val"]
    return 100 * float(next(iter(found.values()))["metrics"]["accuracy"])


def training(told: argparse.Namespace, lr: float, seed: int) -> Training:
    """Of the whole network."""
    return Training(epochs=told.epochs, lr=lr, weight_decay=1e-3, schedule="drops", seed=seed,
                    augment="crop-flip")  # fmt: skip


def full(told: argparse.Namespace, source: Path | None, which: str, data: Data, lr: float, seed: int,
         out: Path) -> float:  # fmt: skip
    """The whole network, from a run or from scratch."""
    if not (out / "evaluation.json").exists():
        how, where = training(told, lr, seed), Output(out)
        if source is None:
            model = Model(told.model, channels_last=True, device="cpu")
            run(methods.softmax(data=data, model=model, training=how, output=where))
        else:
            run(TransferOptions(source, predictor=which, device="cpu", data=data, training=how,
                                output=where))  # fmt: skip
    return judged(out)


def regression(source: Path, which: str, data: Data, seed: int, out: Path) -> float:
    """fc-only."""
    if not (out / "transfer.json").exists():
        run(TransferOptions(source, mode="fc-only", predictor=which, device="cpu", data=data,
                            training=Training(epochs=300, schedule="drops", weight_decay=1e-3, seed=seed),
                            output=Output(out)))  # fmt: skip
    return judged(out)


def main(told: argparse.Namespace) -> None:
    train, test = told.data or prepare(told.pack, told.out)
    seeds = sorted(int(f.stem[4:]) for f in told.students.glob("seed*.json"))
    inner, outer = Data(train, val_fraction=0.2), Data(train, val_images=test)
    found: dict[str, dict[str, Any]] = {}
    for row, (name, which) in {"from scratch": ("", ""), **ROWS}.items():

        def source(seed: int, name: str = name) -> Path | None:
            return told.students / f"seed{seed}" / name if name else None

        slug = row.replace(" ", "-")
        tries = {lr: full(told, source(seeds[0]), which, inner, lr, 0, told.out / f"try-{slug}-{lr:g}")
                 for lr in told.rates}  # fmt: skip
        best = max(tries, key=lambda lr: tries[lr])
        whole = [
            full(told, source(s), which, outer, best, s, told.out / f"{slug}-{s}") for s in seeds
        ]
        found[row] = {"rate": best, "full-ft": whole}
        if name:
            found[row]["fc-only"] = [
                regression(
                    told.students / f"seed{s}" / name, which, outer, s, told.out / f"{slug}-{s}-fc"
                )
                for s in seeds
            ]
    show(found)


def show(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Means with 95% intervals, and what a row has beside supervised training, in pairs."""
    print(
        f"{'':14}{'rate':>8}"
        + "".join(f"{c:>16}{'- supervised':>16}" for c in ("fc-only", "full-ft"))
    )
    for row, numbers in found.items():
        cells = [f"{numbers['rate']:g}".rjust(8)]
        for mode in ("fc-only", "full-ft"):
            base = found["supervised"][mode]
            gains = [a - b for a, b in zip(numbers.get(mode, []), base, strict=False)]
            cells.append(f"{interval(numbers[mode]) if gains else '–':>16}")
            cells.append(f"{interval(gains, '+') if gains and row != 'supervised' else '':>16}")
        print(f"{row:14}" + "".join(cells))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("students", type=Path, nargs="?")
    parser.add_argument("pack", type=Path, nargs="?")
    parser.add_argument("--epochs", type=float, default=30.0)
    parser.add_argument("--model", default="reteach_small", help="of the row from scratch")
    parser.add_argument("--out", type=Path, default=Path("runs/semi-transfer"))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.rates, options.data = RATES, None
    if options.smoke:
        with tempfile.TemporaryDirectory() as scratch:
            made = argparse.Namespace(epochs=20.0)
            students_made_up(made, Path(scratch))
            students(made)
            options.students, options.out = made.out, Path(scratch) / "transfer"
            options.rates, options.epochs, options.model = (0.01,), 1.0, made.model
            options.data = tuple(str(Path(scratch) / f"{part}.npz") for part in ("train", "test"))
            for file in options.data:
                with np.load(file) as content:
                    arrays = dict(content)
                classes = np.arange(len(arrays["items"])) % 3
                np.savez(file, **arrays, labels=classes, classes=["x", "y", "z"])
            main(options)
    else:
        main(options)
