"""Billion-scale semi-supervised learning: Figures 3 to 5, Tables 9 and 10.

    python examples/semi_sweeps.py pile|per-class|top|iterations|self-trained TRAIN.features TEST.features
                                   --labels labels.csv --test-labels test.csv [--labelled 1000] [--pile N]
                                   [--seeds 5]
    python examples/semi_sweeps.py pile --paper      # the paper's own settings, and what they come to
    python examples/semi_sweeps.py pile --smoke

Of TRAIN.features (`reteach embed`) each seed draws the labelled images; all others are the pile. A teacher,
a softmax head, learns from the labels and scores the pile once; `select` picks from these scores, `train
semi --picks` teaches a student, a head likewise, and fine-tunes it. The labels of the pile only say,
afterwards, how many picks are right.

pile: random sub-samples, K in proportion (Figure 3). per-class: K (Figure 5). top: P (Table 9).
iterations: of the pretraining, beside supervised training of as many (Figure 4). self-trained: the student
is the teacher of a second one (Table 10). A small student of pixels: semi_student.py.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq
from pipeline import interval, made_up, write_features

from reteach.cli import run
from reteach.data.sources.feature_table import INDEX, read_table
from reteach.labels import Single
from reteach.options import train as methods
from reteach.options.runs import EvaluateOptions, PredictOptions, RunEvaluationOptions
from reteach.options.scale import SelectOptions
from reteach.options.shared import Data, Output, Training
from reteach.tables import LabelTable, read_labels, write_labels


@dataclass(frozen=True)
class Setting:
    """One point of a sweep: what ``select`` and the pretraining are given.

    Args:
        share: of the pile.
        per_class: K; None: by the paper's ratio.
        top: P.
        epochs: passes over the picks, beside the usual ones.
    """

    name: str
    share: float | None = None
    per_class: int | None = None
    top: int | None = None
    epochs: float = 1.0


SWEEPS: dict[str, list[Setting]] = {
    "pile": [Setting(f"{s:g} of the pile", None if s == 1 else s) for s in (0.0625, 0.125, 0.25, 0.5, 1)],
    "per-class": [Setting(f"K = {k}", per_class=k) for k in (100, 200, 400, 800, 1600, 3200)],
    "top": [Setting(f"{s:g} of the pile, P = {p}", None if s == 1 else s, top=p)
            for s in (0.25, 1) for p in (1, 3, 5, 10)],
    "iterations": [Setting(f"{e:g} times as many", epochs=e) for e in (0.25, 0.5, 1, 2, 4)],
    "self-trained": [Setting("the first student")],
}  # fmt: skip

PAPER: dict[str, list[dict[str, Any]]] = {
    # "values of K = 16k, 8k and 4k are set for dataset sizes 100M, 50M and 25M", Section 4.3, Figure 3
    "pile": [{"images": m * 10**6, "per_class": k * 1000} for m, k in ((25, 4), (50, 8), (100, 16))],
    # "a broad 4k-32k regime", Section 4.3, Figure 5
    "per-class": [{"images": 10**8, "per_class": k * 1000} for k in (4, 8, 16, 32)],
    # Table 9: P and |U|, K = 16k
    "top": [{"images": m * 10**6, "per_class": 16_000, "top": p} for m in (25, 100) for p in (1, 3, 5, 10)],
    # "We process #iter = 1B images for training", Section 4.1; Table 6: 2B
    "iterations": [{"images": 10**8, "per_class": 16_000, "iterations": n * 10**9} for n in (1, 2)],
    # Table 10: ResNeXt-101-32x16d, self-trained, then the teacher, in "standard training settings"
    "self-trained": [{"images": 10**8, "per_class": 16_000, "iterations": 10**9}],
}  # fmt: skip
"""The paper's settings; batches of 64 · 24 = 1,536 images, 1,000 classes."""
BATCH, CLASSES, HALVINGS = 64 * 24, 1000, 13


def paper(sweep: str) -> Iterator[str]:
    """What the paper's settings come to, and the command of each."""
    for at in PAPER[sweep]:
        steps = at.get("iterations", 10**9) // BATCH
        share, k = at["images"] / 10**8, at["per_class"]
        words = ["reteach select scores/", f"--per-class {k}"]
        words += [f"--top {at['top']}"] if "top" in at else []
        words += [f"--sample {share:g}"] if share < 1 else []
        yield " ".join(words)
        yield (
            f"  {at['images']:,} images, picks at most {k * CLASSES:,}; recipes.py semi-r50 --picks "
            f"picks.parquet: {steps:,} steps of {BATCH:,}, a halving every {steps // (HALVINGS + 1):,}, "
            f"{steps * BATCH / (k * CLASSES):.1f} passes over the picks"
        )


@dataclass(frozen=True)
class Draw:
    """One seed: labelled images, the pile, the teacher's scores."""

    folder: Path
    classes: tuple[str, ...]
    truth: Mapping[str, int]
    labelled: tuple[str, ...]
    test: tuple[str, Path]
    epochs: float
    seed: int

    @property
    def labels(self) -> Path:
        """The labels of the labelled images."""
        out = self.folder / "labels.parquet"
        index = np.array([self.truth[item] for item in self.labelled], np.int64)
        if not out.exists():
            write_labels(out, LabelTable(self.labelled, Single(index, self.classes)))
        return out

    @property
    def steps(self) -> int:
        """Of one pass of supervised training."""
        return max(1, -(-len(self.labelled) // 128))

    def scores(self, teacher: Path, name: str) -> Path:
        """What a teacher says of the pile."""
        out = self.folder / f"{name}-scores.parquet"
        if not out.exists():
            pile, labels = str(self.folder / "pile.features"), self.folder / f"{name}-pile.parquet"
            run(PredictOptions(teacher, pile, labels, scores=out, top=len(self.classes)))
        return out

    def teacher(self, name: str = "teacher", **budget: Any) -> Path:
        """A softmax head on the labelled images."""
        out = self.folder / name
        if not (out / "models" / "index.json").exists():
            training = Training(**({"epochs": self.epochs} | budget), seed=self.seed)
            images = str(self.folder / "labelled.features")
            run(methods.softmax(data=Data(images, self.labels, val_fraction=0.0), training=training,
                                output=Output(out)))  # fmt: skip
        return out

    def picks(self, scores: Path, name: str, at: Setting) -> Path:
        """The picks of a setting."""
        out = self.folder / f"{name}.picks.parquet"
        draw = {} if at.share is None else {"sample": at.share, "sample_seed": self.seed}
        run(SelectOptions(scores, at.per_class, out, top=at.top, **draw))
        return out

    def judge(self, found: Path, which: str | None = None) -> float:
        """Test accuracy in percent."""
        images, labels = self.test
        how = RunEvaluationOptions(images, device="cpu", workers=0)
        judged = run(EvaluateOptions((found,), labels, run_options=how)).metrics
        return 100 * float(judged[which or next(iter(judged))]["accuracy"])


def right(draw: Draw, picks: Path) -> tuple[int, float]:
    """How many picks there are, and the share of them, in percent, that show their class."""
    found = pq.read_table(picks, columns=["item", "class"]).to_pydict()
    hits = [draw.truth[i] == c for i, c in zip(found["item"], found["class"], strict=True)]
    return len(hits), 100 * float(np.mean(hits))


def student(draw: Draw, at: Setting, teacher: Path, name: str) -> tuple[Path, Path]:
    """(run, picks): pretrained on the picks, fine-tuned on the labels, both heads."""
    picks = draw.picks(draw.scores(teacher, teacher.name), name, at)
    tuned = round(draw.epochs * draw.steps)
    steps = round(at.epochs * draw.epochs * 4 * draw.steps) + tuned
    options = methods.semi()
    out = draw.folder / name
    settings = replace(options.settings, picks=picks, finetune_steps=tuned, finetune_lr=(0.005,))
    run(
        methods.semi(
            settings=settings,
            data=Data(
                str(draw.folder / "labelled.features"),
                draw.labels,
                val_fraction=0.0,
                unlabeled=str(draw.folder / "pile.features"),
            ),
            training=Training(steps=steps, seed=draw.seed),
            output=Output(out),
        )
    )
    return out, picks


def sweep(draw: Draw, which: str) -> dict[str, dict[str, float]]:
    """The numbers of a seed: per setting picks, how many are right, test accuracy."""
    teacher = draw.teacher()
    found = {"teacher": {"accuracy": draw.judge(teacher)}}
    for number, at in enumerate(SWEEPS[which]):
        out, picks = student(draw, at, teacher, f"{which}-{number}")
        size, share = right(draw, picks)
        found[at.name] = {"picks": size, "right": share, "pretrained": draw.judge(out, "pretrained"),
                          "accuracy": draw.judge(out)}  # fmt: skip
        if which == "iterations":
            steps = round((4 * at.epochs + 1) * draw.epochs * draw.steps)
            control = draw.teacher(f"supervised-{number}", epochs=10.0, steps=steps)
            found[f"supervised, {at.name}"] = {"accuracy": draw.judge(control)}
        if which == "self-trained":
            second, picks = student(draw, at, out, "second")
            size, share = right(draw, picks)
            found["its own student"] = {
                "picks": size,
                "right": share,
                "accuracy": draw.judge(second),
            }
    return found


def draws(told: argparse.Namespace) -> Iterator[Draw]:
    """The seeds' images, written once."""
    table, labels = read_table(told.train), read_labels(told.labels, kind="single")
    _, index, _ = labels.labels.pairs()
    truth = dict(zip(labels.items, index.tolist(), strict=True))
    items = [item for item in table.items if item in truth]
    row_of = {item: row for row, item in enumerate(table.items)}
    for seed in range(told.seeds):
        folder = told.out / f"seed{seed}"
        rows = np.array([row_of[i] for i in np.random.default_rng([seed, 2019]).permutation(items)])
        last = None if told.pile is None else told.labelled + told.pile
        pile = rows[told.labelled : last]
        for name, part in (("labelled", rows[: told.labelled]), ("pile", pile)):
            if not (folder / f"{name}.features" / INDEX).exists():
                write_features(folder / f"{name}.features", table, part)
        learn = tuple(table.items[row] for row in rows[: told.labelled].tolist())
        yield Draw(
            folder,
            labels.labels.classes,
            truth,
            learn,
            (str(told.test), told.test_labels),
            told.epochs,
            seed,
        )


def main(told: argparse.Namespace) -> None:
    results = []
    for draw in draws(told):
        file = draw.folder / f"{told.what}.json"
        if not file.exists():
            file.write_text(json.dumps(sweep(draw, told.what), indent=1))
        results.append(json.loads(file.read_text()))
    show(results)


def show(results: list[dict[str, dict[str, float]]]) -> None:
    """Means with 95% intervals over the seeds, and differences, seed by seed."""
    metrics = ("picks", "right", "pretrained", "accuracy")
    print(f"{'':34}" + "".join(f"{m:>16}" for m in metrics))
    for name in results[0]:
        cells = [interval([seed[name][m] for seed in results]) if m in results[0][name] else "–"
                 for m in metrics]  # fmt: skip
        print(f"{name:34}" + "".join(f"{cell:>16}" for cell in cells))
    pairs = [
        (n.removeprefix("supervised, "), n) for n in results[0] if n.startswith("supervised, ")
    ]
    pairs += [(n, "teacher") for n in results[0] if "teacher" not in n and "supervised" not in n]
    for a, b in dict.fromkeys(pairs):
        if a in results[0] and b in results[0]:
            gains = [seed[a]["accuracy"] - seed[b]["accuracy"] for seed in results]
            print(f"{a} - {b}: {interval(gains, '+')}  ({', '.join(f'{g:+.1f}' for g in gains)})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(SWEEPS))
    parser.add_argument("train", type=Path, nargs="?")
    parser.add_argument("test", type=Path, nargs="?")
    for flag in ("labels", "test-labels"):
        parser.add_argument(f"--{flag}", type=Path)
    parser.add_argument("--labelled", type=int, default=1000)
    parser.add_argument("--pile", type=int, help="so many of the other images; by default all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=Path("runs/semi-sweeps"))
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.paper:
        print(*paper(options.what), sep="\n")
    elif options.smoke:
        with tempfile.TemporaryDirectory() as scratch:
            options.one_of = None
            made_up(options, Path(scratch))
            options.labels, options.labelled, options.out = options.truth, 40, Path(scratch) / "out"
            SWEEPS["per-class"] = [Setting("K = 10", per_class=10)]
            SWEEPS["top"] = [Setting(f"P = {p}", top=p) for p in (1, 3)]
            SWEEPS["pile"] = [Setting("half", 0.5), Setting("all")]
            main(options)
    else:
        main(options)
