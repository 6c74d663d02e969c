"""Billion-scale semi-supervised learning with a strong teacher: a small student of pixels.

    python examples/semi_student.py TRAIN.features TEST.features --images DIR --labels labels.csv
        --test-images DIR --test-labels test.csv [--labelled 1000] [--pile N] [--per-class K] [--seeds 5]
        [--steps TEACHER PRETRAIN FINETUNE] [--model reteach_mid] [--out DIR]
    python examples/semi_student.py --smoke

The paper's regime is a teacher much stronger than the student. Here the teacher is a head on features of a
pretrained network (`reteach embed`), the student a small network that has seen no other image. Each seed
draws the labelled images; all others (or --pile of them) are the pile.

Judged is by the test images: the teacher; *supervised*, the student's network on the labelled images, with
as many steps as teacher, pretraining and fine-tuning together, of the same batch and augmentation; and the
student, pretrained on the picks and fine-tuned.

The rates of each row (of supervised training its length, too, up to all steps) are chosen once, on two
draws of their own, by labelled images that are held out: a fifth. No test image has a say. The labels of the
pile only say, afterwards, how many picks are right.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pipeline import PILOT, interval, write_features
from semi_sweeps import Draw, Setting, right

from reteach.cli import run
from reteach.data.sources.base import open_source
from reteach.data.sources.feature_table import FeatureTable, read_table
from reteach.labels import Single
from reteach.options import train as methods
from reteach.options.shared import Data, Model, Output, Training
from reteach.tables import LabelTable, read_labels, write_labels

STEPS = {"teacher": 60, "pretrain": 1140, "finetune": 300}
"""Supervised training has all of them."""
HELD = 5
"""One of so many labelled images is held out where rates are chosen."""


@dataclass(frozen=True)
class Place:
    """Where a draw's pixels are, and what teaches them.

    Args:
        draw: the labelled images and the pile.
        test: its images and labels.
        picks: of the teacher.
    """

    draw: Draw
    test: tuple[str, Path]
    picks: Path
    model: str
    steps: Mapping[str, int]

    @property
    def training(self) -> Training:
        """Common to all rows."""
        return Training(batch_size=128, optimizer="adam", augment="crop-flip", seed=self.draw.seed)

    @property
    def network(self) -> Model:
        """The student's, and that of its controls."""
        return Model(self.model, channels_last=True, device="cpu")

    @property
    def data(self) -> Data:
        """The labelled images."""
        images = str(self.draw.folder / "labelled.npz")
        return Data(images, self.draw.labels, val_fraction=0.0)

    def judge(self, out: Path, which: str | None = None) -> float:
        """Accuracy in percent."""
        return replace(self.draw, test=self.test).judge(out, which)


Found = dict[str, float]
Row = Callable[..., Found]


def supervised(at: Place, lr: float, length: float = 1.0, name: str = "supervised") -> Found:
    """The network on the labelled images."""
    out, steps = at.draw.folder / name, round(length * sum(at.steps.values()))
    training = replace(at.training, steps=steps, lr=lr)
    run(methods.softmax(data=at.data, model=at.network, training=training, output=Output(out)))
    return {"accuracy": at.judge(out)}


def student(at: Place, lr: float, finetune_lr: float, name: str = "student") -> Found:
    """The network on the picks, then on the labelled images."""
    out = at.draw.folder / name
    settings = replace(methods.semi().settings, picks=at.picks, finetune_steps=at.steps["finetune"],
                       finetune_lr=(finetune_lr,))  # fmt: skip
    pile = str(at.draw.folder / "pile.npz")
    training = replace(at.training, steps=at.steps["pretrain"] + at.steps["finetune"], lr=lr)
    run(
        methods.semi(
            settings=settings,
            data=replace(at.data, unlabeled=pile),
            model=at.network,
            training=training,
            output=Output(out),
        )
    )
    return {"accuracy": at.judge(out), "pretrained": at.judge(out, "pretrained")}


def arrays(out: Path, images: Path, items: list[str] | None = None) -> None:
    """Small images as one file, so that nobody decodes them twice."""
    if out.exists():
        return
    source = open_source(str(images), items)
    read = np.stack([np.asarray(source.read(row)) for row in range(len(source.items))])
    np.savez(out, images=read, items=list(source.items))


def draw(told: argparse.Namespace, seed: int, held: bool) -> tuple[Draw, tuple[str, ...]]:
    """A seed's labelled images and pile as features, and the labelled images that are held out."""
    table, labels = read_table(told.train), read_labels(told.labels, kind="single")
    _, index, _ = labels.labels.pairs()
    truth = dict(zip(labels.items, index.tolist(), strict=True))
    row_of = {item: row for row, item in enumerate(table.items)}
    items = [item for item in table.items if item in truth]
    order = np.random.default_rng([seed, 2019]).permutation(items).tolist()
    labelled, pile = order[: told.labelled], order[told.labelled :][: told.pile]
    learn = labelled[len(labelled) // HELD :] if held else labelled
    folder = told.out / f"seed{seed}"
    for name, part in (("labelled", learn), ("pile", pile)):
        rows = np.array([row_of[item] for item in part])
        write_features(folder / f"{name}.features", table, rows)
    classes = labels.labels.classes
    test = (str(told.test), told.test_labels)
    held_out = tuple(labelled[: len(labelled) // HELD]) if held else ()
    return Draw(folder, classes, truth, tuple(learn), test, told.epochs, seed), held_out


def place(told: argparse.Namespace, seed: int, held: bool = False) -> tuple[Place, Found]:
    """A seed's pixels and picks, and what its teacher is worth."""
    found, held_out = draw(told, seed, held)
    teacher = found.teacher()
    at = Setting("picks", per_class=told.per_class)
    picks = found.picks(found.scores(teacher, "teacher"), "pixels", at)
    size, share = right(found, picks)
    numbers = {"picks": size, "right": share, "accuracy": found.judge(teacher)}
    chosen = sorted({str(i) for i in pq.read_table(picks, columns=["item"])["item"].to_pylist()})
    for name, items in (("labelled", list(found.labelled)), ("pile", chosen)):
        arrays(found.folder / f"{name}.npz", told.images, items)
    test = (str(told.out / "test.npz"), told.test_labels)
    if held:
        arrays(found.folder / "held.npz", told.images, list(held_out))
        index = np.array([found.truth[item] for item in held_out], np.int64)
        labels = found.folder / "held.parquet"
        write_labels(labels, LabelTable(held_out, Single(index, found.classes)))
        test = (str(found.folder / "held.npz"), labels)
    return Place(found, test, picks, told.model, told.steps), numbers


def tried(places: list[Place], row: Row, number: str, *settings: float) -> float:
    """The mean accuracy on held-out labelled images."""
    name = "-".join(["try", number, *(f"{s:g}" for s in settings)])
    return float(np.mean([row(at, *settings, name=name)["accuracy"] for at in places]))


def choose(told: argparse.Namespace) -> dict[str, list[float]]:
    """The settings of every row, chosen on draws of their own."""
    file = told.out / "chosen.json"
    if not file.exists():
        places = [place(told, PILOT + n, held=True)[0] for n in range(told.pilots)]
        tries: dict[str, dict[str, float]] = {}

        def best(row: Row, grid: list[list[float]]) -> list[float]:
            name = row.__name__
            means = [tried(places, row, name, *settings) for settings in grid]
            shown = {" ".join(f"{s:g}" for s in g): m for g, m in zip(grid, means, strict=True)}
            tries.setdefault(name, {}).update(shown)
            print(name, shown, flush=True)
            return grid[int(np.argmax(means))]

        lr = best(supervised, [[r, told.lengths[0]] for r in told.rates])[0]
        chosen = {"supervised": best(supervised, [[lr, n] for n in told.lengths])}
        lr = best(student, [[r, told.finetune[len(told.finetune) // 2]] for r in told.pretrain])[0]
        chosen["student"] = best(student, [[lr, r] for r in told.finetune])
        file.write_text(json.dumps({"chosen": chosen, "tries": tries}, indent=1))
    found: dict[str, list[float]] = json.loads(file.read_text())["chosen"]
    return found


def main(told: argparse.Namespace) -> None:
    told.out.mkdir(parents=True, exist_ok=True)
    arrays(told.out / "test.npz", told.test_images)
    chosen = choose(told)
    print({name: [f"{s:g}" for s in at] for name, at in chosen.items()}, flush=True)
    results = []
    for seed in range(told.seeds):
        file = told.out / f"seed{seed}.json"
        if not file.exists():
            at, teacher = place(told, seed)
            rows: dict[str, Row] = {"supervised": supervised, "student": student}
            found = {"teacher": teacher} | {n: rows[n](at, *chosen[n]) for n in rows}
            file.write_text(json.dumps(found, indent=1))
        results.append(json.loads(file.read_text()))
        print(seed, results[-1], flush=True)
    show(results)


def show(results: list[dict[str, Found]]) -> None:
    """Means with 95% intervals over the seeds, and differences to supervised training in pairs."""
    metrics = ("picks", "right", "pretrained", "accuracy")
    print(f"{'':14}" + "".join(f"{m:>16}" for m in metrics) + f"{'- supervised':>16}")
    for name in results[0]:
        cells = [interval([seed[name][m] for seed in results]) if m in results[0][name] else "–"
                 for m in metrics]  # fmt: skip
        gains = [seed[name]["accuracy"] - seed["supervised"]["accuracy"] for seed in results]
        cells.append("" if name == "supervised" else interval(gains, "+"))
        print(f"{name:14}" + "".join(f"{cell:>16}" for cell in cells))


def made_up(told: argparse.Namespace, folder: Path) -> None:
    """Colours with noise as pictures, their class's direction with noise as features, for --smoke."""
    rng, names = np.random.default_rng(0), tuple("abcd")
    for name, n in (("train", 160), ("test", 40)):
        y = rng.integers(0, 4, n)
        items = [f"{name}{i}" for i in range(n)]
        x = (np.eye(4, 12)[y] * 4 + rng.normal(size=(n, 12))).astype(np.float16)
        table = FeatureTable({"dimensions": 12, "views": 1}, items, x[:, None])
        write_features(folder / f"{name}.features", table, np.arange(n))
        pictures = rng.integers(0, 100, (n, 16, 16, 3)) + np.eye(4, 3)[y][:, None, None] * 100
        np.savez(folder / f"{name}.npz", images=pictures.astype(np.uint8), items=items)
        write_labels(folder / f"{name}.csv", LabelTable(tuple(items), Single(y, names)))
    told.train, told.test = folder / "train.features", folder / "test.features"
    told.images, told.test_images = folder / "train.npz", folder / "test.npz"
    told.labels, told.test_labels = folder / "train.csv", folder / "test.csv"
    told.labelled, told.per_class, told.seeds, told.out = 40, 10, 1, folder / "out"
    told.model, told.steps = "reteach_tiny", {"teacher": 1, "pretrain": 2, "finetune": 1}
    told.pile, told.epochs, told.pilots = None, 20.0, 1
    told.rates, told.lengths, told.pretrain, told.finetune = (0.001,), (1.0,), (0.002,), (0.001,)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path, nargs="?")
    parser.add_argument("test", type=Path, nargs="?")
    for flag in ("labels", "images", "test-images", "test-labels"):
        parser.add_argument(f"--{flag}", type=Path)
    parser.add_argument("--labelled", type=int, default=1000)
    parser.add_argument("--pile", type=int, help="so many of the other images; by default all")
    parser.add_argument("--per-class", type=int, help="K; by default the paper's ratio")
    parser.add_argument("--model", default="reteach_mid")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=20.0, help="of the teacher")
    parser.add_argument("--out", type=Path, default=Path("runs/semi-student"))
    parser.add_argument("--steps", type=int, nargs=3, metavar=("TEACHER", "PRETRAIN", "FINETUNE"))
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3],
                        help="to try, of supervised training, a cosine")  # fmt: skip
    parser.add_argument("--lengths", type=float, nargs="+", default=[1.0, 0.3],
                        help="of supervised training, in shares of all steps")  # fmt: skip
    parser.add_argument("--pretrain", type=float, nargs="+", default=[0.002, 0.004, 0.008, 0.016],
                        help="of the student, halved 13 times, as in the paper")  # fmt: skip
    parser.add_argument("--finetune", type=float, nargs="+", default=[0.0001, 0.0003, 0.001],
                        help="of fine-tuning")  # fmt: skip
    parser.add_argument("--pilots", type=int, default=2, help="draws on which they are chosen")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.steps = dict(zip(STEPS, options.steps or STEPS.values(), strict=True))
    if options.smoke:
        with tempfile.TemporaryDirectory() as scratch:
            made_up(options, Path(scratch))
            main(options)
    else:
        main(options)
